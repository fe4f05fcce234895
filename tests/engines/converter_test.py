"""What the field's own converters make of the same model: the same codes, in no fewer bytes.

    converter_test.py run TERSE WORK_FOLDER        a dense run, which the cases share
    converter_test.py FORMAT TERSE WORK_FOLDER     a key of FORMATS, exported from it; what needs codes with --requantize

The converter is given the run's dense weights and writes every tensor in the type that terse has for it. Tensors are
compared byte for byte, then sizes: terse's is at most the converter's and what terse adds on purpose, counted in bytes.
Needs .venv-engines; exits with 77 and a reason where it is missing.
"""
import json
import pathlib
import sys

from engine_setup import READERS, answer, attempt, empty_folder, run, skip_without, train

# Behind "--requantize": exports that need it. None: the run's weights as they are.
FORMATS = {"safetensors": "", "hf": "", "gguf:bf16": "", "gguf:f16": "--requantize", "gguf:q8_0": "--requantize",
           "gguf:q4_0": "--requantize", "compressed-tensors:w3a16": "--requantize",
           "compressed-tensors:w4a16": "--requantize", "compressed-tensors:w8a16": "--requantize",
           "compressed-tensors:w8a8": "--requantize", "onnx:int4": "--requantize", "onnx:int8": "--requantize"}


def dense_run(terse, work):
    """Two layers of width 256: blocks of 32 and groups of 128 divide all."""
    folder = empty_folder(work)
    train(terse, folder, folder / "data", 'target = "gguf:bf16"', steps=4)
    run(terse, "export", folder / "run", "--format", "hf", "--out", folder / "dense", "--no-probe")


def exported(terse, work, form):
    """WORK/NAME/ours; what needs --requantize is refused without it, with a text that names it."""
    folder = empty_folder(work / form.replace(":", "_"))
    command = [terse, "export", work / "run", "--format", form, "--out", folder / "ours", "--no-probe"]
    if FORMATS[form]:
        refused = attempt(*command)
        assert refused.returncode == 2, f"{form} exported without --requantize"
        assert "--requantize" in refused.stderr and "nearest exact format: " in refused.stderr, refused.stderr
        command.append(FORMATS[form])
    run(*command)
    verified = json.loads(run(terse, "verify", folder / "ours", "--against", work / "run", "--json"))
    assert verified["tensors"] == verified["equal"], verified
    return folder


def check(form, terse, work):
    skip_without(READERS, "gguf", "transformers", "compressed_tensors", "onnx", "onnxruntime", "onnx_ir")
    folder = exported(terse, work, form)
    found = answer(READERS, pathlib.Path(__file__).with_name("converter_inside.py"), form, work / "dense", folder)
    ours, theirs, added = found["ours"], found["theirs"], found["added"]
    print(f"{form}: {found['equal']} tensors equal; {ours} bytes, the converter's {theirs}; added: {added} "
          + found.get("note", ""))
    assert ours <= theirs + sum(added.values()), f"{form}: {ours - theirs - sum(added.values())} bytes too many"


if __name__ == "__main__":
    case, terse, work = sys.argv[1:]
    if case == "run":
        dense_run(terse, pathlib.Path(work))
    else:
        check(case, terse, pathlib.Path(work))
