"""scripts/table without its training: that it goes on where it was killed, that it says which rows it left out;
and with terse, a step each, that no row of its tables is one of those."""

import csv
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import random
import signal
import struct
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts/table"
TERSE = os.environ.get("TERSE_PROGRAM", "")

# The script on another tree, whose docs/tables it writes. Its arguments: script, tree, arguments.
ELSEWHERE = """
import importlib.machinery, importlib.util, pathlib, sys
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("table", sys.argv[1])
table = importlib.util.module_from_spec(importlib.util.spec_from_loader("table", loader))
loader.exec_module(table)
table.ROOT = pathlib.Path(sys.argv[2])
sys.argv = ["table", *sys.argv[3:]]
table.main()
"""

# In the place of terse: writes down what it is asked for and makes up results. The file "kill" holds the number
# of the run in which to kill the script; runs with words of the file "unknown" end as of an unknown recipe.
STUB = """#!{python}
import json, os, pathlib, signal, sys
folder, words = pathlib.Path({folder!r}), sys.argv[1:]
if words[0] != "train":
    sys.exit(0)
with open(folder / "calls", "a") as file:
    print(json.dumps(words), file=file)
if (folder / "kill").read_text() == str(len((folder / "calls").read_text().splitlines())):
    os.kill(os.getppid(), signal.SIGKILL)
unknown = (folder / "unknown").read_text()
if unknown and unknown in " ".join(words):
    print("terse: error: no such thing", file=sys.stderr)
    sys.exit(2)
out = pathlib.Path(words[words.index("--out") + 1])
out.mkdir(parents=True)
steps = [{{"kind": "step", "tokens": 10, "seconds": 0.5}}] * 3
(out / "metrics.jsonl").write_text("".join(json.dumps(s) + "\\n" for s in [{{"kind": "eval"}}, *steps]))
seed = next(int(w.split("=")[1]) for w in words if w.startswith("train.seed="))
print(json.dumps({{"loss": seed + (0.5 if "srste" in " ".join(words) else 0.25), "perplexity": 7}}))
"""


def load():
    loader = importlib.machinery.SourceFileLoader("table", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("table", loader))
    loader.exec_module(module)
    return module


class Ledger(unittest.TestCase):
    ROWS = ["lm 2:4 progressive", "lm 2:4 SR-STE", "lm 2:4 hard"]

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        for name in ("data", "docs/tables", "tmp"):
            (self.folder / name).mkdir(parents=True)
        # So that no text is fetched.
        for name in ("data/bible.txt", "data/anarchism.txt", "kill", "unknown"):
            (self.folder / name).write_text("")
        stub = self.folder / "terse"
        stub.write_text(STUB.format(python=sys.executable, folder=str(self.folder)))
        stub.chmod(0o755)

    def table(self):
        words = ["nm", "--only", "lm 2:4*", "--seeds", "1,2", "--terse", self.folder / "terse"]
        return subprocess.run([sys.executable, "-c", ELSEWHERE, str(SCRIPT), str(self.folder), *map(str, words)],
                              capture_output=True, text=True, env={**os.environ, "TMPDIR": str(self.folder / "tmp")})

    def calls(self):
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def rows(self):
        with open(self.folder / "docs/tables/nm.csv", newline="", encoding="utf-8") as file:
            return [(r["row"], int(r["seed"]), float(r["loss"])) for r in csv.DictReader(file)]

    def expected(self, rows):
        return [(row, seed, seed + (0.5 if "SR-STE" in row else 0.25)) for seed in (1, 2) for row in rows]

    def test_goes_on_where_it_was_killed(self):
        (self.folder / "kill").write_text("3")
        killed = self.table()
        self.assertEqual(killed.returncode, -signal.SIGKILL, killed.stderr)
        self.assertEqual(self.rows(), self.expected(self.ROWS)[:2])
        (self.folder / "calls").unlink()
        (self.folder / "kill").write_text("")
        done = self.table()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(self.calls()), 4)
        self.assertEqual(self.rows(), self.expected(self.ROWS))
        self.assertIn("| 2:4 | 1.7500 ± 0.5000 | 2.0000 ± 0.5000 | 1.7500 ± 0.5000 |", done.stdout)
        (self.folder / "calls").unlink()
        self.assertEqual(self.table().returncode, 0)
        self.assertEqual(self.calls(), [])

    def test_an_unknown_recipe_is_said_once_and_stops_no_other_row(self):
        (self.folder / "unknown").write_text('estimator="hard"')
        done = self.table()
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.count("skipped: lm 2:4 hard"), 1)
        self.assertEqual(self.rows(), self.expected(self.ROWS[:2]))

    def test_every_run_gets_its_seed_and_the_settings_of_its_row(self):
        self.assertEqual(self.table().returncode, 0)
        table = load()
        asked = [[b for a, b in zip(words, words[1:]) if a == "--set"] for words in self.calls()]
        rows = table.nm_rows()
        self.assertEqual(asked, [[f"train.seed={seed}", *rows[row][1]] for seed in (1, 2) for row in self.ROWS])


@unittest.skipUnless(TERSE, "no TERSE_PROGRAM")
class Recipes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        draw = random.Random(1)
        words = ["".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(2, 8)))
                 for _ in range(2000)]
        lines = (" ".join(draw.choice(words) for _ in range(9)) for _ in range(700))
        (cls.folder / "text.txt").write_text("\n".join(lines) + "\n")
        (cls.folder / "digits").mkdir()
        for name in ("train", "valid"):  # docs/formats.md, "Images"
            header = struct.pack("<8sII5H6xQ24x", b"TERSEIMG", 1, 80, 1, 8, 8, 10, 16, 0)
            images = b"".join(bytes(draw.randrange(17) for _ in range(64)) + bytes([i % 10, 0]) for i in range(80))
            (cls.folder / f"digits/{name}.images").write_bytes(header + images)

    def step(self, row, recipe, sets):
        data = {"lm": [f'data.text=["{self.folder}/text.txt"]', f'data.dir="{self.folder}/lm"'],
                "vit": [f'data.dir="{self.folder}/digits"']}[recipe]
        short = ["train.steps=1", "train.batch_tokens=128" if recipe == "lm" else "train.batch_tokens=8"]
        out = self.folder / f"run {row}".replace(" ", "_").replace(":", "_")
        command = [TERSE, "train", str(ROOT / f"docs/tables/{recipe}.toml"), "--out", str(out), "--threads", "1",
                   "--bind", "none", "--json"]
        for item in [*sets, *data, *short]:
            command += ["--set", item]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True)

    def check(self, rows):
        self.assertTrue(rows)
        for row, (recipe, sets) in rows.items():
            with self.subTest(row):
                done = self.step(row, recipe, sets)
                self.assertEqual(done.returncode, 0, done.stderr[-2000:])
                self.assertIn("loss", json.loads(done.stdout))

    def test_ordering(self):
        self.check(load().ordering_rows())

    def test_nm(self):
        self.check(load().nm_rows())

    def test_a_wrong_setting_would_be_seen(self):
        done = self.step("wrong", "vit", ['sparsity.pattern="4:2"'])
        self.assertEqual(done.returncode, load().UNKNOWN_RECIPE, done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
