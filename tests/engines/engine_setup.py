"""What the engine tests share: virtual environments, programs, texts, a recipe that trains in seconds.

TERSE_VENVS names a folder that holds .venv, .venv-peers and .venv-engines; without it, the tree's root.
"""
import json
import os
import pathlib
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENVS = pathlib.Path(os.environ.get("TERSE_VENVS", ROOT))
LLAMA = VENVS / ".venv/bin/python"  # xllamacpp
PEERS = VENVS / ".venv-peers/bin/python"  # numpy, gguf, torch
READERS = VENVS / ".venv-engines/bin/python"  # these and transformers, onnxruntime, openvino_genai
TEXT = ROOT / "LICENSE"
# Tests run side by side: two threads that spin on a busy machine are far slower than one.
ALONE = ("--threads", 1, "--bind", "none")
SKIPPED = 77  # ctest's SKIP_RETURN_CODE


def has(python, *modules):
    find = f"import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, {modules})))"
    return python.exists() and subprocess.run([python, "-c", find], capture_output=True).returncode == 0


def skip_without(python, *modules):
    if not has(python, *modules):
        print(f"skipped: {python} has not {' and '.join(modules)}")
        sys.exit(SKIPPED)


def attempt(*command):
    return subprocess.run([str(c) for c in command], capture_output=True, text=True)


def run(*command):
    done = attempt(*command)
    if done.returncode != 0:
        sys.exit(f"{command} failed with {done.returncode}:\n{done.stdout}\n{done.stderr[-3000:]}")
    return done.stdout


def answer(*command):
    """The last line that a program prints, as JSON."""
    return json.loads(run(*command).splitlines()[-1])


def empty_folder(folder):
    run("rm", "-rf", folder)
    folder.mkdir(parents=True)
    return folder


def make_model(program, folder, kind):
    """engine_model's random Llama."""
    folder.mkdir(parents=True, exist_ok=True)
    run(program, TEXT, kind, folder)
    return folder / "model.gguf"


def random_windows(length, vocab=600, windows=2):
    """BOS and as many random ids each."""
    ids, state = [], 1
    for _ in range(windows * length):
        state = state * 6364136223846793005 % 2**64
        ids.append(3 + (state >> 33) % (vocab - 3))
    return [[1] + ids[i:i + length] for i in range(0, len(ids), length)]


def text_windows(data, context):
    """BOS and `context` tokens of the validation text each, as `terse eval` takes them."""
    shard = (data / "valid.bin").read_bytes()
    magic, version, width, count = struct.unpack_from("<8sIIQ", shard)
    assert (magic, version, width) == (b"TERSETOK", 1, 2), (magic, version, width)
    ids = struct.unpack_from(f"<{count}H", shard, 64)
    return [[1, *ids[i:i + context]] for i in range(0, count - context + 1, context)]


# Widths are multiples of 256, which every format's blocks divide.
RECIPE = """
[model]
layers = 2
width = {width}
heads = 4
kv_heads = 2
hidden = 256
context = {context}
[data]
text = {text}
dir = "{data}"
vocab = 600
valid = 0.3
[train]
steps = {steps}
batch_tokens = 1024
micro_tokens = 1024
device = "cpu"
compute = "{compute}"
[optim]
name = "adamw"
lr = 3e-3
[qat]
{qat}
"""


def texts():
    """More than the licence alone, for networks that learn something."""
    return [str(t) for t in (TEXT, *sorted(ROOT.glob("docs/*.md")))]


def train(terse, folder, data, qat, width=256, context=64, steps=60, compute="bf16"):
    """FOLDER/run, trained for a moment on the texts; `qat`: lines of [qat] and what follows it."""
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(width=width, context=context, text=json.dumps(texts()),
                                    data=data, steps=steps, compute=compute, qat=qat))
    run(terse, "train", recipe, "--out", folder / "run", *ALONE)
    return folder / "run"


HARD_TEXTS = ["the program is free", " two  spaces", "\ttab\nnew line\r\n", "caf\u00e9 \u4e2d\u6587", "a", "", "   ",
              "Copyright (C) 1989, 1991", "\U0001f600 emoji", "don't STOP", "a" * 50, "  " * 9 + "x"]


def own_ids(engine_model, tokenizer, given, folder):
    """By terse's own tokenizer; leaves the texts, which have no NUL, in FOLDER/texts.json."""
    (folder / "texts.json").write_text(json.dumps(given))
    (folder / "texts.bin").write_bytes(b"".join(t.encode() + b"\0" for t in given))
    return json.loads(run(engine_model, "--ids", tokenizer, folder / "texts.bin"))


def evaluated(terse, path, data, windows=0):
    return json.loads(run(terse, "eval", path, "--data", data, "--compute", "fp32", "--windows", windows, "--json",
                          *ALONE))
