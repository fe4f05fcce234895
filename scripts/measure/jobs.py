"""Training jobs on two hosts of scripts/cluster with a core each: what scripts that measure share."""

import json
import os
import pathlib
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
TERSE = ROOT / "build/release/trainer/cli/terse"
BIBLE = ROOT / "data/bible"
PEERS_PYTHON = ROOT / ".venv-peers/bin/python"


class Failed(Exception):
    """A job did not end well; the text says which, and its last words."""


def pinned(core):
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", str(cores[core % len(cores)])]


def run(commands):
    """All at the same time; their standard outputs."""
    started = [subprocess.Popen(words, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE) for words in commands]
    outputs = [process.communicate() for process in started]
    for words, process, (out, err) in zip(commands, started, outputs):
        if process.returncode != 0:
            raise Failed(f"{' '.join(words)} ended with {process.returncode}:\n{out[-1000:]}{err[-1000:]}")
    return [out for out, _ in outputs]


def cluster(link, launcher, hosts=2):
    shaped = ["--link", link] if link else []
    return [str(ROOT / "scripts/cluster"), "--hosts", str(hosts), "--cores-per-host", "1", *shaped,
            "--launcher", launcher, "--"]


def terse_train(terse, recipe, out, sets):
    words = [str(terse), "train", str(recipe), "--out", str(out)]
    for item in sets:
        words += ["--set", item]
    return words


def metrics(folder):
    """The records of a run of terse, in their order."""
    with open(folder / "metrics.jsonl", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def torch_train(exchange, options):
    """tests/peers/torch_ddp.py; options by name without dashes in front."""
    words = [str(PEERS_PYTHON), str(ROOT / "tests/peers/torch_ddp.py"), "--exchange", exchange]
    for name, value in options.items():
        words += [f"--{name}", str(value)]
    return words


def why_no_data(data):
    """What is wrong with --data; empty if nothing."""
    if (pathlib.Path(data) / "train.bin").exists():
        return ""
    return f"--data {data} is not there; `terse prepare data/bible.txt --out {data} --vocab 4096` makes it"


def spread(values, form):
    """Median, and the extremes where there are several."""
    middle, least, most = (form.format(f(values)) for f in (statistics.median, min, max))
    return f"{middle} ({least} to {most})" if len(values) > 1 else middle
