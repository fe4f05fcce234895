"""ONNX exports in ONNX Runtime, and their bytes against ONNX Runtime's own quantizer.

    onnx_test.py CASE ENGINE_MODEL WORK_FOLDER [TYPE]
    onnx_test.py trained TERSE WORK_FOLDER KIND

CASE: logits TYPE | layout TYPE | genai. KIND: of RUNS. Needs .venv-engines (onnxruntime; for genai onnxruntime-genai) and
.venv-peers (numpy), which scripts/test --engines makes; exits with 77 and a reason where one is missing.
"""
import json
import pathlib
import sys

from engine_setup import (READERS, TEXT, answer, empty_folder, evaluated, random_windows, run, skip_without,
                          text_windows)
from transformers_test import CONTEXT, TOLERANCE, train_rounded

WINDOW = 127  # random ids behind BOS: the context of engine_model


def logits_inside(folder):
    """fp32 sums against a reference in fp64, whole windows at once and through the cache."""
    import numpy as np
    from onnx_model import forward, session_of
    from reference_llama import Model
    reference = Model(folder / "hf")
    for name in ("onnx", "onnx_int8"):
        if not (folder / name).exists():
            continue
        model = session_of(folder / name)
        for ids in random_windows(WINDOW):
            expected = reference.logits(np.array(ids))
            whole, _ = forward(model, ids, {})
            # 1e-5 of the largest: rounding of fp32 sums over at most 192 products, 2 layers.
            scale = np.abs(expected).max()
            assert np.abs(whole - expected).max() < 1e-5 * scale, name
            first, cache = forward(model, ids[:50], {})
            second, cache = forward(model, ids[50:51], cache)
            third, _ = forward(model, ids[51:], cache)
            pieces = np.concatenate([first, second, third])
            assert np.abs(pieces - expected).max() < 1e-5 * scale, name
        print(name, "largest difference", np.abs(whole - expected).max() / scale)


def layout_inside(folder):
    """Blocks that hold the least code (-2, -8 or -128) are what ONNX Runtime's symmetric quantizers of 2, 4 and 8 bits
    make of their values: its scale is the value of largest magnitude over that code. Those must agree in every byte."""
    import numpy as np
    import onnx
    from onnx.numpy_helper import to_array
    from onnxruntime.capi import _pybind_state
    from safetensors_file import read_safetensors
    model = onnx.load(folder / "onnx/model.onnx")
    stored = {t.name: to_array(t) for t in model.graph.initializer}
    dense = read_safetensors(folder / "hf/model.safetensors")
    compared, widths = 0, set()
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        a = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
        codes, scales = stored[node.input[1]], stored[node.input[2]]
        n, blocks, bs, bits = a["N"], a["K"] // a["block_size"], a["block_size"], a["bits"]
        own = np.zeros((n, blocks, bs * bits // 8), np.uint8)
        own_scales = np.zeros((n, blocks), np.float32)
        zeros = np.zeros((n, (blocks * bits + 7) // 8), np.uint8)
        weight = np.ascontiguousarray(dense[node.input[1]].T)
        getattr(_pybind_state, f"quantize_matmul_{bits}bits")(own, weight, own_scales, zeros, bs, n, a["K"], True)
        exact = (dense[node.input[1]].reshape(n, blocks, bs) == -2 ** (bits - 1) * scales[..., None]).any(-1)
        assert np.array_equal(own[exact], codes[exact]), node.name
        assert np.array_equal(own_scales[exact], scales[exact]), node.name
        compared += int(exact.sum())
        widths.add(bits)
    # Of 7,680 blocks of 32 random codes of 8 bits 12 % hold the least.
    assert compared > 500, compared
    print(f"{compared} blocks of {widths} bits equal")


def genai_inside(folder):
    """Greedy decoding by ONNX Runtime GenAI equals greedy decoding of the reference."""
    import numpy as np
    import onnxruntime_genai as og
    from reference_llama import Model
    reference = Model(folder / "hf")
    ids = random_windows(WINDOW)[0][:20]
    expected = list(ids)
    for _ in range(12):
        expected.append(int(reference.logits(np.array(expected))[-1].argmax()))
    model = og.Model(str(folder / "onnx"))
    parameters = og.GeneratorParams(model)
    parameters.set_search_options(max_length=32, do_sample=False)
    generator = og.Generator(model, parameters)
    generator.append_tokens(np.array([ids], np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    got = [int(t) for t in generator.get_sequence(0)]
    assert got == expected[:len(got)] and len(got) > len(ids), (got, expected)
    print(got)


# [qat] with quantized inputs, the format, and whether ONNX Runtime makes integer products of it.
RUNS = {
    "w8a8": ('target = "onnx:int8"\nact_bits = 8', "onnx:int8", False),
    "w8a8_static": ('target = "onnx:int8"\nact_bits = 8\nestimator = "lsq"', "onnx:int8", True),
    "w8a8_static_groups": ('target = "onnx:int8"\ngroup = 32\nact_bits = 8\nestimator = "lsq"', "onnx:int8", False),
    "w4a8_static": ('target = "onnx:int4"\nact_bits = 8\nestimator = "lsq"', "onnx", False),
    "w4a4": ('target = "onnx:int4"\nact_bits = 4', "onnx", False),
    "w4a4_static": ('target = "onnx:int4"\nact_bits = 4\nestimator = "lsq"', "onnx", False),
    "w4a4_half_int": ('target = "onnx:int4"\nact_bits = 4\nact_grid = "half_int"', "onnx", False),
}


def leave_inputs(folder, name):
    """The same graph without what rounds inputs, as folder/name."""
    import onnx
    model = onnx.load(folder / "model.onnx")
    source = {}  # of what is rounded
    for node in model.graph.node:
        if node.name.endswith((".input.steps", ".input.codes")):
            source.setdefault(node.name.rsplit(".", 1)[0], node.input[0])
    assert source
    for node in model.graph.node:
        for i, value in enumerate(node.input):
            node.input[i] = source.get(value, value)
    onnx.save(model, folder / name)


def trained_inside(folder):
    import onnx
    from onnx_model import in_onnx_runtime, perplexity
    windows = text_windows(folder / "data", CONTEXT)
    scored, tokens = perplexity(in_onnx_runtime(folder / "onnx", optimized=folder / "optimized.onnx"), windows)
    leave_inputs(folder / "onnx", "unrounded.onnx")
    unrounded, _ = perplexity(in_onnx_runtime(folder / "onnx", "unrounded.onnx"), windows)
    operators = {node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node}
    print(json.dumps({"perplexity": scored, "tokens": tokens, "unrounded": unrounded,
                      "integer": "MatMulIntegerToFloat" in operators}))


def trained(terse, folder, kind):
    """A model trained with rounded inputs: the run, its file, and ONNX Runtime have one perplexity."""
    skip_without(READERS, "onnx", "onnxruntime")
    folder = empty_folder(pathlib.Path(folder))
    qat, form, integer = RUNS[kind]
    train_rounded(terse, folder, qat)
    run(terse, "export", folder / "run", "--format", form, "--out", folder / "onnx")
    theirs = answer(READERS, __file__, "trained_inside", folder)
    of_file, of_run = (evaluated(terse, folder / path, folder / "data") for path in ("onnx", "run"))
    print(kind, of_run, of_file, theirs)
    assert theirs["integer"] == integer, theirs
    for ours in (of_file, of_run):
        assert ours["tokens"] == theirs["tokens"]
        assert abs(ours["perplexity"] / theirs["perplexity"] - 1) < TOLERANCE, (kind, ours, theirs)
    # With 8 bits rounding changes too little for a perplexity to show it.
    if "a4" in kind:
        assert abs(theirs["unrounded"] / theirs["perplexity"] - 1) > TOLERANCE, (kind, theirs)


def outside(case, module, program, folder, kind):
    skip_without(READERS, module)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run(program, TEXT, kind, folder)
    print(run(READERS, __file__, case + "_inside", folder))


if __name__ == "__main__":
    case, *rest = sys.argv[1:]
    if case.endswith("_inside"):
        globals()[case](pathlib.Path(rest[0]))
    elif case == "trained":
        trained(*rest)
    else:
        module = {"logits": "onnxruntime", "layout": "onnx", "genai": "onnxruntime_genai"}[case]
        outside(case, module, rest[0], rest[1], rest[2] if len(rest) > 2 else "q4_0")
