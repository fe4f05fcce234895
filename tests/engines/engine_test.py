"""Exported files opened by programs that are not ours.

    engine_test.py CASE ENGINE_MODEL WORK_FOLDER

CASE: perplexity TYPE | openvino TYPE | trained TARGET (with the terse program instead of engine_model) | tokenize |
libraries. Needs .venv (xllamacpp), .venv-peers (numpy, gguf) and .venv-engines (openvino_genai), which
scripts/setup and scripts/test make; exits with 77 and a reason where one is missing.
"""
import ctypes
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINE = ROOT / ".venv/bin/python"
PEERS = ROOT / ".venv-peers/bin/python"
READERS = ROOT / ".venv-engines/bin/python"
TEXT = ROOT / "LICENSE"

# F32: rounding of fp32 sums only (8e-6 in a log-probability was seen). Other types: llama.cpp rounds
# activations to 8 bits (Q types) or to the weight's 16 bits.
TOLERANCE = {"f32": 1e-5, "f32_tied": 1e-5}
COARSE = 0.01
TYPES = ("bf16", "f16", "q4_0", "q4_1", "q5_0", "q8_0", "q1_0", "q2_0", "tq1_0", "tq2_0", "mxfp4", "nvfp4")

HARD_TEXTS = ["the program is free", " two  spaces", "\ttab\nnew line\r\n", "caf\u00e9 \u4e2d\u6587",
              "a", "", "   ", "Copyright (C) 1989, 1991", "\U0001f600 emoji", "don't STOP"]


def skip_without(python, module):
    found = python.exists() and subprocess.run([python, "-c", f"import {module}"],
                                               capture_output=True).returncode == 0
    if not found:
        print(f"skipped: {python} cannot import {module}")
        sys.exit(77)


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command} failed with {done.returncode}:\n{done.stdout}\n{done.stderr[-2000:]}")
    return done.stdout


def make_model(program, folder, kind):
    folder.mkdir(parents=True, exist_ok=True)
    run(program, TEXT, kind, folder)
    return folder / "model.gguf"


def windows():
    """BOS and as many random ids as the model's context is long, which is the most there can be."""
    ids, state = [], 1
    for _ in range(2 * 128):
        state = state * 6364136223846793005 % 2**64
        ids.append(3 + (state >> 33) % 597)
    return [[1] + ids[i:i + 128] for i in range(0, len(ids), 128)]


def perplexity(program, folder, kind):
    skip_without(ENGINE, "xllamacpp")
    skip_without(PEERS, "numpy")
    model = make_model(program, folder, kind)
    ids = folder / "ids.json"
    ids.write_text(json.dumps(windows()))
    engine = json.loads(run(ENGINE, ROOT / "scripts/engine/llama_perplexity.py", model,
                            "--windows", ids, "--prompt", "the", "--predict", 8))
    reference = json.loads(run(PEERS, ROOT / "tests/engines/reference_llama.py", folder / "hf", ids))
    assert engine["generated"], engine
    for ours, theirs in zip(engine["window_nll"], reference):
        assert abs(ours / theirs - 1) < TOLERANCE.get(kind, COARSE), (kind, ours, theirs)


def openvino(program, folder, kind):
    """The second reader of GGUF, on the types that it has."""
    skip_without(READERS, "openvino_genai")
    model = make_model(program, folder, kind)
    ids = folder / "ids.json"
    ids.write_text(json.dumps(windows()))
    engine = json.loads(run(READERS, ROOT / "tests/engines/openvino_nll.py", model, ids)
                        .splitlines()[-1])
    reference = json.loads(run(PEERS, ROOT / "tests/engines/reference_llama.py", folder / "hf", ids))
    print(kind, engine, reference)
    for ours, theirs in zip(engine, reference, strict=True):
        assert abs(ours / theirs - 1) < COARSE, (kind, ours, theirs)


def tokenize(program, folder):
    skip_without(ENGINE, "xllamacpp")
    model = make_model(program, folder, "q4_0")
    texts = HARD_TEXTS + TEXT.read_text().split("\n\n")[:20]
    (folder / "texts.json").write_text(json.dumps(texts))
    engine = json.loads(run(ENGINE, ROOT / "scripts/engine/llama_perplexity.py", model,
                            "--tokenize", folder / "texts.json"))["ids"]
    # By terse's own tokenizer, trained as `terse prepare` trains it; texts without NUL.
    (folder / "texts.bin").write_bytes(b"".join(t.encode() + b"\0" for t in texts))
    ours = json.loads(run(program, "--ids", folder / "tokenizer.model", folder / "texts.bin"))
    for text, a, b in zip(texts, engine, ours, strict=True):
        assert a == b, (text, a, b)


def trained(program, folder, target):
    """A model trained for a moment with this target: llama.cpp answers as `terse eval` does."""
    skip_without(ENGINE, "xllamacpp")
    run("rm", "-rf", folder)
    folder.mkdir(parents=True)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(text=TEXT, data=folder / "data", target=target))
    run(program, "train", recipe, "--out", folder / "run")
    model = folder / "model.gguf"
    run(program, "export", folder / "run", "--format", target, "--out", model)
    answer = json.loads(run(program, "verify", model, "--against", folder / "run",
                            "--engine", "llama.cpp", "--windows", 2, "--json"))
    print(answer["engine"])
    assert answer["tensors"] == answer["equal"] and answer["engine"]["agrees"], answer


RECIPE = """
[model]
layers = 2
width = 256
heads = 4
kv_heads = 2
hidden = 256
context = 64
[data]
text = ["{text}"]
dir = "{data}"
vocab = 600
[train]
steps = 30
batch_tokens = 256
micro_tokens = 256
device = "cpu"
[optim]
name = "adamw"
lr = 2e-3
[qat]
target = "{target}"
"""


def ggml_values(path):
    """Every tensor as llama.cpp's own library reads it: name -> fp32, flat."""
    import numpy as np
    ggml = ctypes.CDLL(str(next(ROOT.glob(".venv/lib/python3*/site-packages/xllamacpp/*.so"))))

    def call(name, result, *arguments):
        function = getattr(ggml, name)
        function.restype = result
        return function(*arguments)

    class Parameters(ctypes.Structure):
        _fields_ = [("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p)]

    file = ctypes.c_void_p(call("gguf_init_from_file", ctypes.c_void_p, str(path).encode(),
                                Parameters(True, None)))
    data = np.memmap(path, np.uint8)[call("gguf_get_data_offset", ctypes.c_size_t, file):]
    values = {}
    for i in map(ctypes.c_int64, range(call("gguf_get_n_tensors", ctypes.c_int64, file))):
        begin = call("gguf_get_tensor_offset", ctypes.c_size_t, file, i)
        size = call("gguf_get_tensor_size", ctypes.c_size_t, file, i)
        kind = call("gguf_get_tensor_type", ctypes.c_int, file, i)
        raw = np.ascontiguousarray(data[begin:begin + size])
        elements = (size // call("ggml_type_size", ctypes.c_size_t, kind)
                    * call("ggml_blck_size", ctypes.c_int64, kind))
        kind = call("ggml_type_name", ctypes.c_char_p, kind).decode()
        if kind in ("f32", "f16"):
            decoded = raw.view(np.dtype(kind.replace("f", "float"))).astype(np.float32)
        elif kind == "bf16":
            decoded = (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            decoded = np.empty(elements, np.float32)
            call("dequantize_row_" + kind, None, ctypes.c_void_p(raw.ctypes.data),
                 ctypes.c_void_p(decoded.ctypes.data), ctypes.c_int64(elements))
        values[call("gguf_get_tensor_name", ctypes.c_char_p, file, i).decode()] = decoded
    return values


def gguf_py_values(path):
    """The same by gguf-py; nothing where it lacks a type."""
    import numpy as np
    from gguf import GGUFReader
    from gguf.quants import dequantize
    try:
        return {t.name: dequantize(t.data, t.tensor_type).astype(np.float32).reshape(-1)
                for t in GGUFReader(path).tensors}
    except (ValueError, NotImplementedError) as error:
        print("gguf-py:", error)
        return {}


def compare_inside(folder):
    """Every tensor of the GGUF, read by two libraries, equals the Hugging Face file bit for bit."""
    import numpy as np
    from gguf.constants import MODEL_ARCH
    from gguf.tensor_mapping import get_tensor_name_map
    from safetensors_file import read_safetensors

    hf = read_safetensors(folder / "hf/model.safetensors")
    config = json.loads((folder / "hf/config.json").read_text())
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, config["num_hidden_layers"])
    for read in (ggml_values, gguf_py_values):
        stored = read(folder / "model.gguf")
        if not stored:
            continue
        assert len([n for n in stored if n.endswith(".weight")]) == len(hf)
        for name, values in hf.items():
            tensor = names.get_name(name, try_suffixes=(".weight",))
            for projection, n in heads.items():  # LlamaModel.permute of llama.cpp's converter
                if projection in name:
                    values = values.reshape(n, 2, values.shape[0] // n // 2, -1).swapaxes(
                        1, 2).reshape(values.shape)
            decoded = stored[tensor]
            scale = stored.get(tensor.replace(".weight", ".scale"))  # of a whole NVFP4 tensor
            decoded = decoded if scale is None else decoded * scale[0]
            # + 0.0: a zero's sign is the scale's.
            same = (decoded + 0.0).view(np.uint32) == (values.reshape(-1) + 0.0).view(np.uint32)
            assert same.all(), (read.__name__, name)
        print(f"{read.__name__}: {len(hf)} tensors equal")


def libraries(program, folder):
    skip_without(ENGINE, "xllamacpp")
    skip_without(PEERS, "gguf")
    for kind in TYPES:
        make_model(program, folder / kind, kind)
        print(kind, run(PEERS, __file__, "compare_inside", folder / kind))


if __name__ == "__main__":
    case, *rest = sys.argv[1:]
    if case == "compare_inside":
        compare_inside(pathlib.Path(rest[0]))
    else:
        program, folder, *more = rest
        globals()[case](program, pathlib.Path(folder), *more)
