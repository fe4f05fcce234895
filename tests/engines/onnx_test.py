"""ONNX exports in ONNX Runtime, and their bytes against ONNX Runtime's own quantizer.

    onnx_test.py CASE ENGINE_MODEL WORK_FOLDER [TYPE]

CASE: logits TYPE | layout | genai. Needs .venv-engines (onnxruntime; for genai onnxruntime-genai) and
.venv-peers (numpy), which scripts/test --engines makes; TERSE_ENGINES names another Python. Exits with 77
and a reason where one is missing.
"""
import json
import os
import pathlib
import subprocess
import sys

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


def session(folder):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # As genai_config.json says; without it int8 weights get 8-bit activations (0.04 of the largest).
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options,
                                        providers=["CPUExecutionProvider"])


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
    else:
        module = {"logits": "onnxruntime", "layout": "onnx", "genai": "onnxruntime_genai"}[case]
        outside(case, module, rest[0], rest[1], rest[2] if len(rest) > 2 else "q4_0")
