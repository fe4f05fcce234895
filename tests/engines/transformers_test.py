"""Exported folders opened by transformers and compressed-tensors, which are not ours.

    transformers_test.py CASE CT_MODEL ENGINE_MODEL TERSE WORK_FOLDER [KIND]

CASE: perplexity KIND | library KIND | tokenizer. Needs .venv-engines, which scripts/setup --peers makes; exits
with 77 and a reason where it is missing.
"""
import json
import math
import os
import pathlib
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINE = ROOT / ".venv-engines/bin/python"
TEXT = ROOT / "LICENSE"
CONTEXT = 128  # of engine_model

# Both compute in fp32 with the same rounded inputs; sums in another order put a few inputs on the other
# side of a rounding. The requirement is 0.1 %.
TOLERANCE = 1e-3


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command} failed with {done.returncode}:\n{done.stdout}\n{done.stderr[-3000:]}")
    return done.stdout


def prepare(programs, folder, kind):
    """A folder with data/ (as `terse prepare` makes it), hf/ and ct/ of one random model."""
    folder.mkdir(parents=True, exist_ok=True)
    run(programs["terse"], "prepare", TEXT, "--out", folder / "data", "--vocab", 600)
    run(programs["ct_model"], folder / "data/tokenizer.model", kind, folder)


def windows(folder):
    """Begin token and CONTEXT tokens of the validation text each, as `terse eval` takes them."""
    data = (folder / "data/valid.bin").read_bytes()
    magic, version, width, count = struct.unpack_from("<8sIIQ", data)
    assert (magic, version, width) == (b"TERSETOK", 1, 2), (magic, version, width)
    ids = struct.unpack_from(f"<{count}H", data, 64)
    return [[1, *ids[i:i + CONTEXT]] for i in range(0, count - CONTEXT + 1, CONTEXT)]


def load(folder):
    """The model as the documentation of compressed-tensors says, rotations included, in fp32."""
    import torch
    from compressed_tensors.compressors.base import decompress_module
    from compressed_tensors.transform import TransformConfig, apply_transform_config
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = json.loads((folder / "config.json").read_text()).get("quantization_config", {})
    if "transform_config" in config:
        apply_transform_config(model, TransformConfig(**config["transform_config"]))
    # What the first forward would do; fp4 is unpacked into bf16, which holds it exactly.
    for module in model.modules():
        decompress_module(module)
    if hasattr(model, "ct_decompress_hook"):
        model.ct_decompress_hook.remove()
    return model.to(torch.float32).eval()


def perplexity_inside(folder):
    import torch

    torch.set_num_threads(2)
    model = load(folder / "ct")
    nll, tokens = 0.0, 0
    with torch.no_grad():
        for window in windows(folder):
            ids = torch.tensor([window])
            logp = torch.log_softmax(model(ids[:, :-1]).logits.double(), -1)
            nll -= logp.gather(-1, ids[:, 1:, None]).sum().item()
            tokens += ids.shape[1] - 1
    print(json.dumps({"perplexity": math.exp(nll / tokens), "tokens": tokens}))


def perplexity(programs, folder, kind):
    prepare(programs, folder, kind)
    theirs = json.loads(run(ENGINE, __file__, "perplexity_inside", folder).splitlines()[-1])
    ours = json.loads(run(programs["terse"], "eval", folder / "ct", "--data", folder / "data", "--compute", "fp32", "--json"))
    print(kind, ours, theirs)
    assert ours["tokens"] == theirs["tokens"]
    assert abs(ours["perplexity"] / theirs["perplexity"] - 1) < TOLERANCE, (kind, ours, theirs)


def library_inside(folder):
    """Every weight that compressed-tensors decodes equals the dense twin bit for bit."""
    import torch
    from safetensors.torch import load_file

    model = load(folder / "ct")
    dense = load_file(folder / "hf/model.safetensors")
    state = model.state_dict()
    compared = 0
    for name, values in dense.items():
        have = state[name].float() + 0.0  # a zero has no sign in ours
        assert torch.equal((have).view(torch.int32), (values.float() + 0.0).view(torch.int32)), name
        compared += 1
    print(f"{compared} tensors equal")


def library(programs, folder, kind):
    prepare(programs, folder, kind)
    print(run(ENGINE, __file__, "library_inside", folder))


TEXTS = ["the program is free", " two  spaces", "\ttab\nnew line\r\n", "caf\u00e9 \u4e2d\u6587", "a", "", "   ",
         "Copyright (C) 1989, 1991", "\U0001f600 emoji", "don't STOP", "a" * 50, "  " * 9 + "x"]


def tokenizer_inside(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "ct")
    texts = json.loads((folder / "texts.json").read_text())
    ids = [tokenizer(t, add_special_tokens=False)["input_ids"] for t in texts]
    back = [tokenizer.decode(i) for i in ids]
    assert tokenizer("the program")["input_ids"][0] == tokenizer.bos_token_id == 1
    assert [t for t in texts if "\ufffd" not in t] == [b for b in back if "\ufffd" not in b]
    print(json.dumps(ids))


def tokenizer(programs, folder):
    prepare(programs, folder, "w4a16")
    texts = TEXTS + TEXT.read_text().split("\n\n")
    (folder / "texts.json").write_text(json.dumps(texts))
    (folder / "texts.bin").write_bytes(b"".join(t.encode() + b"\0" for t in texts))
    ours = json.loads(run(programs["engine_model"], "--ids", folder / "data/tokenizer.model",
                          folder / "texts.bin"))
    theirs = json.loads(run(ENGINE, __file__, "tokenizer_inside", folder).splitlines()[-1])
    for text, a, b in zip(texts, ours, theirs, strict=True):
        assert a == b, (text, a, b)
    print(f"{len(texts)} texts equal")


if __name__ == "__main__":
    case, *rest = sys.argv[1:]
    if case.endswith("_inside"):
        globals()[case](pathlib.Path(rest[0]))
        sys.exit()
    if not ENGINE.exists():
        print("skipped: there is no .venv-engines; scripts/setup --peers makes it")
        sys.exit(77)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    ct_model, engine_model, terse, folder, *kind = rest
    globals()[case]({"ct_model": ct_model, "engine_model": engine_model, "terse": terse},
                    pathlib.Path(folder), *kind)
