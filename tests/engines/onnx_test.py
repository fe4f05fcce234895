"""ONNX exports in ONNX Runtime, and their bytes against ONNX Runtime's own quantizer.

    onnx_test.py CASE ENGINE_MODEL WORK_FOLDER [TYPE]
    onnx_test.py trained TERSE WORK_FOLDER KIND

CASE: logits TYPE | layout | genai. KIND: of RUNS. Needs .venv-engines (onnxruntime; for genai onnxruntime-genai) and
.venv-peers (numpy), which scripts/test --engines makes; TERSE_ENGINES names another Python. Exits with 77
and a reason where one is missing.
"""
import json
import math
import os
import pathlib
import subprocess
import sys

from transformers_test import TOLERANCE, evaluated, train
from transformers_test import run as call
from transformers_test import windows as validation

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINES = pathlib.Path(os.environ.get("TERSE_ENGINES", ROOT / ".venv-engines/bin/python"))
TEXT = ROOT / "LICENSE"
CONTEXT, VOCAB = 128, 600  # of engine_model


def skip_without(module):
    found = ENGINES.exists() and subprocess.run([ENGINES, "-c", f"import {module}"],
                                                capture_output=True).returncode == 0
    if not found:
        print(f"skipped: {ENGINES} cannot import {module}")
        sys.exit(77)


def windows():
    """BOS and random ids, as many as the context holds."""
    ids, state = [], 1
    for _ in range(2 * (CONTEXT - 1)):
        state = state * 6364136223846793005 % 2**64
        ids.append(3 + (state >> 33) % (VOCAB - 3))
    return [[1] + ids[i:i + CONTEXT - 1] for i in range(0, len(ids), CONTEXT - 1)]


def session(folder, model="model.onnx", optimized=None):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    # Without them int8 weights get 8-bit activations (0.04 of the largest), and products of codes saturate on
    # processors without VNNI.
    config = json.loads((folder / "genai_config.json").read_text())
    for key, value in config["model"]["decoder"]["session_options"].items():
        # Without pairs there are no products of codes, and onnxruntime 1.31 fails with the option.
        left_out = model != "model.onnx" and key == "session.x64quantprecision"
        if key.startswith("session.") and not left_out:
            options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(str(folder / model), options, providers=["CPUExecutionProvider"])


def run(model, ids, cache):
    """Logits of ids [tokens] behind the cache, and the longer cache."""
    import numpy as np
    past = next(iter(cache.values())).shape[2] if cache else 0
    feeds = {"input_ids": np.array([ids], np.int64),
             "attention_mask": np.ones((1, past + len(ids)), np.int64)}
    for port in model.get_inputs():
        if port.name.startswith("past_key_values."):
            empty = np.zeros((1, port.shape[1], 0, port.shape[3]), np.float32)
            feeds[port.name] = cache.get(port.name.replace("past_key_values", "present"), empty)
    names = [port.name for port in model.get_outputs()]
    out = dict(zip(names, model.run(names, feeds), strict=True))
    return out.pop("logits")[0], out


def logits_inside(folder):
    """fp32 sums against a reference in fp64, whole windows at once and through the cache."""
    import numpy as np
    from reference_llama import Model
    reference = Model(folder / "hf")
    for name in ("onnx", "onnx_int8"):
        if not (folder / name).exists():
            continue
        model = session(folder / name)
        for ids in windows():
            expected = reference.logits(np.array(ids))
            whole, _ = run(model, ids, {})
            # 1e-5 of the largest: rounding of fp32 sums over at most 192 products, 2 layers.
            scale = np.abs(expected).max()
            assert np.abs(whole - expected).max() < 1e-5 * scale, name
            first, cache = run(model, ids[:50], {})
            second, cache = run(model, ids[50:51], cache)
            third, _ = run(model, ids[51:], cache)
            pieces = np.concatenate([first, second, third])
            assert np.abs(pieces - expected).max() < 1e-5 * scale, name
        print(name, "largest difference", np.abs(whole - expected).max() / scale)


def layout_inside(folder):
    """Blocks that hold code -8 are what ONNX Runtime's symmetric quantizer makes of their values:
    its scale is the value of largest magnitude over -8. Those must agree in every byte."""
    import numpy as np
    import onnx
    from onnx.numpy_helper import to_array
    from onnxruntime.capi._pybind_state import quantize_matmul_4bits
    from safetensors_file import read_safetensors
    model = onnx.load(folder / "onnx/model.onnx")
    stored = {t.name: to_array(t) for t in model.graph.initializer}
    dense = read_safetensors(folder / "hf/model.safetensors")
    compared = 0
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        a = {x.name: onnx.helper.get_attribute_value(x) for x in node.attribute}
        codes, scales = stored[node.input[1]], stored[node.input[2]]
        n, blocks, bs = a["N"], a["K"] // a["block_size"], a["block_size"]
        own = np.zeros((n, blocks, bs // 2), np.uint8)
        own_scales = np.zeros((n, blocks), np.float32)
        zeros = np.zeros((n, (blocks + 1) // 2), np.uint8)
        weight = np.ascontiguousarray(dense[node.input[1]].T)
        quantize_matmul_4bits(own, weight, own_scales, zeros, bs, n, a["K"], True)
        nibbles = np.stack([codes & 15, codes >> 4], -1).reshape(n, blocks, bs)
        exact = (nibbles == 0).any(-1)
        assert np.array_equal(own[exact], codes[exact]), node.name
        assert np.array_equal(own_scales[exact], scales[exact]), node.name
        compared += int(exact.sum())
    assert compared > 1000, compared
    print(f"{compared} blocks equal")


def genai_inside(folder):
    """Greedy decoding by ONNX Runtime GenAI equals greedy decoding of the reference."""
    import numpy as np
    import onnxruntime_genai as og
    from reference_llama import Model
    reference = Model(folder / "hf")
    ids = windows()[0][:20]
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


def perplexity_of(model, batches):
    import numpy as np
    nll, tokens = 0.0, 0
    for ids in batches:
        logits = run(model, ids[:-1], {})[0].astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        nll -= logp[np.arange(len(ids) - 1), ids[1:]].sum()
        tokens += len(ids) - 1
    return math.exp(nll / tokens), tokens


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
    every = validation(folder)
    perplexity, tokens = perplexity_of(session(folder / "onnx", optimized=folder / "optimized.onnx"), every)
    leave_inputs(folder / "onnx", "unrounded.onnx")
    unrounded, _ = perplexity_of(session(folder / "onnx", "unrounded.onnx"), every)
    operators = {node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node}
    print(json.dumps({"perplexity": perplexity, "tokens": tokens, "unrounded": unrounded,
                      "integer": "MatMulIntegerToFloat" in operators}))


def trained(terse, folder, kind):
    """A model trained with rounded inputs: the run, its file, and ONNX Runtime have one perplexity."""
    skip_without("onnx, onnxruntime")
    folder = pathlib.Path(folder)
    qat, form, integer = RUNS[kind]
    train({"terse": terse}, folder, qat)
    call(terse, "export", folder / "run", "--format", form, "--out", folder / "onnx")
    theirs = json.loads(call(ENGINES, __file__, "trained_inside", folder).splitlines()[-1])
    of_file = evaluated({"terse": terse}, folder / "onnx", folder / "data")
    of_run = evaluated({"terse": terse}, folder / "run", folder / "data")
    print(kind, of_run, of_file, theirs)
    assert theirs["integer"] == integer, theirs
    for ours in (of_file, of_run):
        assert ours["tokens"] == theirs["tokens"]
        assert abs(ours["perplexity"] / theirs["perplexity"] - 1) < TOLERANCE, (kind, ours, theirs)
    # With 8 bits rounding changes too little for a perplexity to show it.
    if "a4" in kind:
        assert abs(theirs["unrounded"] / theirs["perplexity"] - 1) > TOLERANCE, (kind, theirs)


def outside(case, module, program, folder, kind):
    skip_without(module)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for command in ([program, TEXT, kind, folder], [ENGINES, __file__, case + "_inside", folder]):
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        print(done.stdout)
        if done.returncode != 0:
            sys.exit(f"{command} failed with {done.returncode}:\n{done.stderr[-3000:]}")


if __name__ == "__main__":
    case, *rest = sys.argv[1:]
    if case.endswith("_inside"):
        globals()[case](pathlib.Path(rest[0]))
    elif case == "trained":
        trained(*rest)
    else:
        module = {"logits": "onnxruntime", "layout": "onnx", "genai": "onnxruntime_genai"}[case]
        outside(case, module, rest[0], rest[1], rest[2] if len(rest) > 2 else "q4_0")
