"""Exported folders served by vLLM on the CPU, against `terse eval`.

    vllm_test.py KIND TERSE WORK_FOLDER

A model is trained for a moment and exported; vLLM reports the log-probability of every token of the validation text.
KIND: one of KINDS. Needs .venv-vllm, which scripts/setup --vllm makes (6 GB); exits with 77 and a reason where it is
missing.
"""
import json
import os
import pathlib
import sys

from engine_setup import ROOT, VENVS, answer, empty_folder, evaluated, run, skip_without, text_windows, train

VLLM = VENVS / ".venv-vllm/bin/python"
CONTEXT = 64
WINDOWS = 64
# The requirement is 3 %, since vLLM computes in bfloat16; 0.01 % was seen. Rounding the inputs of the W4A4 model
# changes 0.8 %, so that a reader which does it fails.
TOLERANCE = 0.005

LEARNED = 'target = "none"\ngrid = "int_signed"\nact_bits = 8\nhadamard = 0\nestimator = "lsq"\n'
KINDS = {
    "dense": "",
    "w4a16": 'target = "compressed-tensors:w4a16"',
    "w4a16_output": 'target = "compressed-tensors:w4a16"',  # lm_head as well
    "w4a16_group32": 'target = "compressed-tensors:w4a16"\ngroup = 32',
    "w8a8": 'target = "compressed-tensors:w8a8"',
    "w8a8_static": LEARNED + "weight_bits = 8\ngroup = 0",
    "w4a4": 'target = "compressed-tensors:w4a4"',
}


def exported(terse, folder, form):
    run(terse, "export", folder / "run", "--format", form, "--out", folder / form)
    return folder / form


def served(terse, folder, kind):
    """What vLLM is given, and the folder that says in terse what it computes: inputs of 4 bits stay unrounded, as in
    the dense twin."""
    if kind == "dense":
        return [exported(terse, folder, "hf")] * 2
    codes = exported(terse, folder, "compressed-tensors")
    return codes, exported(terse, folder, "hf") if "a4" in kind else codes


def compare(kind, terse, folder):
    ignore = "" if "output" in kind else 'ignore = ["lm_head"]\n'
    train(terse, empty_folder(folder), folder / "data", ignore + KINDS[kind], context=CONTEXT, steps=100)
    given, twin = served(terse, folder, kind)
    ids = folder / "ids.json"
    ids.write_text(json.dumps(text_windows(folder / "data", CONTEXT)[:WINDOWS]))
    theirs = answer(VLLM, ROOT / "scripts/engine/vllm_perplexity.py", given, "--windows", ids)
    ours = evaluated(terse, twin, folder / "data", WINDOWS)
    apart = theirs["perplexity"] / ours["perplexity"] - 1
    print(f"{kind}: vLLM {theirs['perplexity']:.4f} ({theirs['dtype']}), terse {ours['perplexity']:.4f}, {apart:+.3%}, "
          f"{theirs['seconds']:.0f} s")
    assert ours["tokens"] == theirs["tokens"], (ours, theirs)
    assert abs(apart) < TOLERANCE, kind


if __name__ == "__main__":
    skip_without(VLLM, "vllm")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    kind, terse, folder = sys.argv[1:]
    compare(kind, terse, pathlib.Path(folder))
