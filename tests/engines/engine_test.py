"""Exported files opened by programs that are not ours.

    engine_test.py CASE ENGINE_MODEL WORK_FOLDER

CASE: perplexity TYPE | tokenize | gguf_py. Needs .venv (xllamacpp) and .venv-peers (numpy, gguf), which
scripts/setup and scripts/test make; exits with 77 and a reason where one is missing.
"""
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINE = ROOT / ".venv/bin/python"
PEERS = ROOT / ".venv-peers/bin/python"
TEXT = ROOT / "LICENSE"

# F32: rounding of fp32 sums only (8e-6 in a log-probability was seen). Other types: llama.cpp rounds
# activations to 8 bits (Q types) or to the weight's 16 bits.
TOLERANCE = {"f32": 1e-5, "bf16": 0.01, "f16": 0.01, "q4_0": 0.01, "q8_0": 0.01, "half_int3": 0.01}
TOLERANCE |= {kind + "_tied": TOLERANCE[kind] for kind in ("f32", "q4_0")}

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
        assert abs(ours / theirs - 1) < TOLERANCE[kind], (kind, ours, theirs)


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


def gguf_py_inside(folder):
    """Every tensor of the GGUF, read by gguf-py, equals the Hugging Face file bit for bit."""
    import numpy as np
    from gguf import GGUFReader
    from gguf.constants import MODEL_ARCH
    from gguf.quants import dequantize
    from gguf.tensor_mapping import get_tensor_name_map
    from safetensors_file import read_safetensors

    hf = read_safetensors(folder / "hf/model.safetensors")
    reader = GGUFReader(folder / "model.gguf")
    assert reader.fields["general.architecture"].contents() == "llama"
    heads = {"q_proj": reader.fields["llama.attention.head_count"].contents(),
             "k_proj": reader.fields["llama.attention.head_count_kv"].contents()}
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, reader.fields["llama.block_count"].contents())
    stored = {t.name: t for t in reader.tensors}
    assert len(stored) == len(hf)
    for name, values in hf.items():
        tensor = stored[names.get_name(name, try_suffixes=(".weight",))]
        for projection, n in heads.items():  # LlamaModel.permute of llama.cpp's converter
            if projection in name:
                values = values.reshape(n, 2, values.shape[0] // n // 2, -1).swapaxes(1, 2).reshape(
                    values.shape)
        decoded = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        decoded = decoded.reshape(values.shape)
        assert np.array_equal(decoded.view(np.uint32), values.view(np.uint32)), name
    print(f"{len(hf)} tensors equal")


def gguf_py(program, folder):
    skip_without(PEERS, "gguf")
    for kind in ("q4_0", "q8_0", "bf16", "f16"):
        make_model(program, folder / kind, kind)
        print(run(PEERS, __file__, "gguf_py_inside", folder / kind))


if __name__ == "__main__":
    case, *rest = sys.argv[1:]
    if case == "gguf_py_inside":
        gguf_py_inside(pathlib.Path(rest[0]))
    else:
        program, folder, *more = rest
        globals()[case](program, pathlib.Path(folder), *more)
