#!/usr/bin/env python3
"""What scripts/quickstart needs beside the product; standard library only.

    quickstart_summary.py windows RUN N                  the first N validation windows as token ids
    quickstart_summary.py record RUN EVAL.json ENGINE.json   adds the engine's answer to results.json
    quickstart_summary.py summary RUN                    ten lines; exits 1 if perplexities differ
"""
import json
import os
import re
import struct
import sys

BEGIN = 1  # id of the begin token of our tokenizers
LARGEST_DIFFERENCE = 0.01


def recipe_value(run, table, key):
    """A value of the resolved recipe. Python 3.11 reads TOML; Debian 12 has it."""
    import tomllib
    with open(os.path.join(run, "recipe.resolved.toml"), "rb") as file:
        return tomllib.load(file)[table][key]


def windows(run, count):
    """[BEGIN, context tokens], windows back to back: what `terse eval` scores (trainer/evaluate.h)."""
    context = recipe_value(run, "model", "context")
    with open(os.path.join(recipe_value(run, "data", "dir"), "valid.bin"), "rb") as file:
        header = file.read(64)
        magic, _, width = struct.unpack("<8sII", header[:16])
        if magic != b"TERSETOK":
            sys.exit(f"{file.name} is no token shard")
        raw = file.read(count * context * width)
    ids = struct.unpack(f"<{len(raw) // width}{'H' if width == 2 else 'I'}", raw)
    return [[BEGIN, *ids[at:at + context]] for at in range(0, len(ids) - context + 1, context)]


def results_path(run):
    return os.path.join(run, "results.json")


def record(run, evaluation, engine):
    with open(evaluation) as file:
        ours = json.load(file)
    with open(engine) as file:
        theirs = json.load(file)
    if ours["tokens"] != theirs["tokens"]:
        sys.exit(f"terse scored {ours['tokens']} tokens, {theirs['engine']} {theirs['tokens']}")
    with open(results_path(run)) as file:
        results = json.load(file)
    results["engines"] = [{
        "engine": theirs["engine"],
        "file": "model.gguf",
        "perplexity": theirs["perplexity"],
        "terse_perplexity": ours["perplexity"],
        "tokens": theirs["tokens"],
        "generated": theirs.get("generated", ""),
    }]
    temporary = results_path(run) + ".new"
    with open(temporary, "w") as file:
        json.dump(results, file, indent=2)
    os.replace(temporary, results_path(run))


def human_bytes(size):
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5 or unit == "GB":
            return f"{size:.3g} {unit}"
        size /= 1000


def traffic(run):
    wire = dense = seconds = steps = 0
    with open(os.path.join(run, "metrics.jsonl")) as file:
        for line in file:
            step = json.loads(line)
            if step["kind"] == "step":
                steps = step["step"]
                wire += step["wire_bytes"]
                dense += step["dense_bytes"]
                seconds += step["seconds"]
    return steps, seconds, wire, dense


def summary(run):
    with open(results_path(run)) as file:
        results = json.load(file)
    final, engine = results["evaluations"][-1], results["engines"][0]
    export = next(e for e in results["exports"] if e["path"].endswith(".gguf"))
    steps, seconds, wire, dense = traffic(run)
    difference = engine["perplexity"] / engine["terse_perplexity"] - 1
    rows = [
        ("trained", f"{steps} steps in {seconds:.0f} s"),
        ("loss", f"{final['loss']:.4f} nats a token on {final['tokens']} tokens of validation text"),
        ("perplexity", f"{final['perplexity']:.3f}"),
        ("by terse", f"{engine['terse_perplexity']:.4f} on {engine['tokens']} of these tokens"),
        ("by llama.cpp", f"{engine['perplexity']:.4f} on the same ({100 * difference:+.3f} %)"),
        ("sent", f"{human_bytes(wire)} a rank; fp32 would have sent {human_bytes(dense)}"
                 + (f" (x{dense / wire:.1f})" if wire else "")),
        ("file", f"{human_bytes(export['bytes'])}; as fp16 {human_bytes(export['fp16_bytes'])}"
                 f" (x{export['fp16_bytes'] / export['bytes']:.2f})"),
        ("verified", f"{export['tensors_equal']} of {export['tensors']} tensors equal, bit for bit"),
        ("it writes", re.sub(r"\s+", " ", engine["generated"])[:90]),
        ("report", os.path.join(run, "report.html")),
    ]
    for key, value in rows:
        print(f"  {key:<13} {value}")
    if abs(difference) > LARGEST_DIFFERENCE:
        sys.exit("error: the two perplexities differ by more than 1 %: the file is not the model that "
                 "was trained")


def main():
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb == "windows":
        print(json.dumps(windows(arguments[0], int(arguments[1]))))
    elif verb == "record":
        record(*arguments)
    elif verb == "summary":
        summary(*arguments)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
