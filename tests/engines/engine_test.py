"""Exported files opened by programs that are not ours.

    engine_test.py CASE ENGINE_MODEL WORK_FOLDER

CASE: perplexity TYPE | openvino TYPE | tokenize | libraries. Needs .venv (xllamacpp), .venv-peers (numpy, gguf) and
.venv-engines (openvino_genai), which scripts/setup and scripts/test make; exits with 77 and a reason where one is
missing. Models trained here: matrix_test.py.
"""
import json
import pathlib
import sys

from engine_setup import (HARD_TEXTS, LLAMA, PEERS, READERS, ROOT, TEXT, answer, make_model, own_ids, random_windows, run,
                          skip_without)

# F32: rounding of fp32 sums only (8e-6 in a log-probability was seen). Other types: llama.cpp rounds
# activations to 8 bits (Q types) or to the weight's 16 bits.
TOLERANCE = {"f32": 1e-5, "f32_tied": 1e-5}
COARSE = 0.01
TYPES = ("bf16", "f16", "q4_0", "q4_1", "q5_0", "q8_0", "q1_0", "q2_0", "tq1_0", "tq2_0", "mxfp4", "nvfp4")

CONTEXT = 128  # of engine_model, the most that llama.cpp takes


def perplexity(program, folder, kind):
    skip_without(LLAMA, "xllamacpp")
    skip_without(PEERS, "numpy")
    model = make_model(program, folder, kind)
    ids = folder / "ids.json"
    ids.write_text(json.dumps(random_windows(CONTEXT)))
    engine = json.loads(run(LLAMA, ROOT / "scripts/engine/llama_perplexity.py", model,
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
    ids.write_text(json.dumps(random_windows(CONTEXT)))
    engine = answer(READERS, ROOT / "tests/engines/openvino_nll.py", model, ids)
    reference = json.loads(run(PEERS, ROOT / "tests/engines/reference_llama.py", folder / "hf", ids))
    print(kind, engine, reference)
    for ours, theirs in zip(engine, reference, strict=True):
        assert abs(ours / theirs - 1) < COARSE, (kind, ours, theirs)


def tokenize(program, folder):
    skip_without(LLAMA, "xllamacpp")
    model = make_model(program, folder, "q4_0")
    texts = HARD_TEXTS + TEXT.read_text().split("\n\n")[:20]
    ours = own_ids(program, folder / "tokenizer.model", texts, folder)
    engine = answer(LLAMA, ROOT / "scripts/engine/llama_perplexity.py", model,
                    "--tokenize", folder / "texts.json")["ids"]
    for text, a, b in zip(texts, engine, ours, strict=True):
        assert a == b, (text, a, b)


def libraries(program, folder):
    skip_without(LLAMA, "xllamacpp")
    skip_without(PEERS, "gguf")
    for kind in TYPES:
        make_model(program, folder / kind, kind)
        print(kind, run(PEERS, ROOT / "tests/engines/gguf_codes.py", folder / kind))


if __name__ == "__main__":
    case, program, folder, *more = sys.argv[1:]
    globals()[case](program, pathlib.Path(folder), *more)
