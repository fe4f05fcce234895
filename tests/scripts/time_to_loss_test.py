"""scripts/time-to-loss on curves made up here: the fixed loss, where curves cross it, the table, the picture;
that terse takes every contender's settings; and that its neighbours still start."""

import argparse
import csv
import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
SCRIPT = SCRIPTS / "time-to-loss"
TERSE = os.environ.get("TERSE_PROGRAM", "")
USAGE, FILE = 2, 5  # exit codes of terse


def load():
    loader = importlib.machinery.SourceFileLoader("time_to_loss", str(SCRIPT))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("time_to_loss", loader))
    loader.exec_module(module)
    return module


def run(*words):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


class TimeToLoss(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.csv = self.folder / "runs.csv"
        self.columns = load().COLUMNS

    def write(self, contender, seed, losses, seconds_a_step, first=8.0, steps=100):
        """Evaluations every 20 steps; a step sends 1 MB."""
        new = not self.csv.exists()
        with open(self.csv, "a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns)
            if new:
                writer.writeheader()
            for i, loss in enumerate(losses, 1):
                writer.writerow({"contender": contender, "seed": seed, "link": "100Mbit", "steps": steps,
                                 "batch_tokens": 2048, "step": 20 * i, "seconds": 20 * i * seconds_a_step,
                                 "loss": loss, "sent": 20_000_000 * i, "first_loss": first, "terse": "test"})

    def table(self, *words):
        status, out, err = run(SCRIPT, "--csv", self.csv, "--steps", 100, "--markdown", *words)
        self.assertEqual(status, 0, err)
        rows = [[cell.strip() for cell in line.strip("|").split("|")]
                for line in out.splitlines() if line.startswith("|")]
        return {row[0]: row[1:] for row in rows}, err

    def test_crossings_by_hand(self):
        self.write("bf16", 1, [7, 6, 5, 4.5, 4.4], 2.0)
        self.write("onebit", 1, [8, 7, 6, 4, 4.2], 0.5)
        self.write("topk", 1, [7, 6.9, 6.8, 6.7, 6.6], 0.1)
        rows, err = self.table()
        self.assertEqual(err, "")
        self.assertEqual(rows[""][0], "seconds to 4.5000")  # dense bf16's loss at step 80 of 100
        self.assertEqual(rows["terse, AdamW, dense bf16"],
                         ["160.0", "1.00", "80", "200", "4.4000", "", "100.0"])
        # From 6 to 4 within steps 60 to 80: three quarters of the way.
        self.assertEqual(rows["terse, 1-bit Adam"], ["37.5", "4.27", "75", "50", "4.2000", "-4.55 %", "100.0"])
        self.assertEqual(rows["terse, AdamW, top-k"][:3], ["-", "-", "-"])

    def test_seeds_are_compared_with_dense_of_the_same_seed(self):
        self.write("bf16", 1, [7, 6, 5, 4.5, 4.0], 2.0)
        self.write("bf16", 2, [7, 6, 5, 4.5, 4.4], 2.0)
        self.write("onebit", 1, [7, 6, 5, 4.5, 4.2], 1.0)
        self.write("onebit", 2, [7, 6, 5, 4.6, 4.6], 1.0)
        rows, _ = self.table()
        self.assertEqual(rows["terse, 1-bit Adam"][0], "80.0, 1 of 2")
        self.assertEqual(rows["terse, 1-bit Adam"][5], "+4.77 % (+4.55 % to +5.00 %)")

    def test_a_contender_with_other_settings_is_a_row(self):
        self.write("bf16", 1, [7, 6, 5, 4.5, 4.4], 2.0)
        self.write("dgc optim.lr=1.0", 1, [7, 6, 5, 4.5, 4.4], 1.0)
        rows, _ = self.table()
        self.assertEqual(rows["terse, DGC optim.lr=1.0"][0], "80.0")

    def test_a_contender_may_take_other_steps(self):
        script = load()
        own, more = script.with_steps(argparse.Namespace(steps=100, link="1Gbit"), ["steps=150", "lr=1"])
        self.assertEqual((own.steps, own.link, more), (150, "1Gbit", ["lr=1"]))
        self.write("bf16", 1, [7, 6, 5, 4.5, 4.4], 2.0)
        self.write("dgc steps=140", 1, [7, 6.5, 6, 5.5, 5, 4.6, 4.4], 1.0)
        rows, _ = self.table()
        self.assertEqual(rows["terse, DGC steps=140"][:4], ["130.0", "1.23", "130", "140"])

    def test_rows_of_other_lengths_stay_out(self):
        self.write("bf16", 1, [7, 6, 5, 4.5, 4.4], 2.0)
        self.write("topk", 1, [7, 6, 5], 2.0, steps=60)
        rows, _ = self.table()
        self.assertEqual(len(rows), 3)  # head, line, dense

    def test_says_when_a_run_began_elsewhere(self):
        self.write("bf16", 1, [7, 6, 5, 4.5, 4.4], 2.0)
        self.write("powersgd", 1, [7, 6, 5, 4.5, 4.4], 2.0, first=8.1)
        _, err = self.table()
        self.assertIn("powersgd, seed 1 began at 8.1000", err)

    def test_losses_that_are_not_finite_cross_nothing(self):
        self.write("bf16", 1, [7, 6, 5, 4.5, 4.4], 2.0)
        self.write("dgc", 1, [7, "nan", "nan", "nan", "nan"], 2.0)
        rows, _ = self.table("--picture", self.folder / "curves.svg")
        self.assertEqual(rows["terse, DGC"][:3], ["-", "-", "-"])
        self.assertNotIn("nan", (self.folder / "curves.svg").read_text())

    def test_no_dense_run_needs_a_loss(self):
        self.write("onebit", 1, [7, 6, 5, 4.5, 4.4], 2.0)
        status, _, err = run(SCRIPT, "--csv", self.csv, "--steps", 100, "--markdown")
        self.assertEqual(status, 1)
        self.assertIn("--loss", err)
        rows, _ = self.table("--loss", 5)
        self.assertEqual(rows["terse, 1-bit Adam"][0], "120.0")

    def test_writes_table_and_picture(self):
        self.write("bf16", 1, [7, 6, 5, 4.5, 4.4], 2.0)
        page, picture = self.folder / "page.md", self.folder / "curves.svg"
        marks = load().MARKS
        page.write_text(f"above\n{marks[0]}\nold\n{marks[1]}\nbelow\n")
        for _ in range(2):  # the second time changes nothing
            status, out, err = run(SCRIPT, "--csv", self.csv, "--steps", 100, "--markdown", page, "--picture",
                                   picture)
            self.assertEqual((status, out), (0, ""), err)
            text = page.read_text()
            self.assertTrue(text.startswith("above\n") and text.endswith("\nbelow\n"), text)
            self.assertIn("dense bf16", text)
            self.assertNotIn("old", text)
        root = xml.etree.ElementTree.parse(picture).getroot()
        self.assertEqual(len(root.findall("{http://www.w3.org/2000/svg}polyline")), 1)

    def test_the_place_in_the_documentation_is_there(self):
        text = (SCRIPTS.parent / "docs/benchmarks.md").read_text()
        for mark in load().MARKS:
            self.assertEqual(text.count(mark), 1)


class Settings(unittest.TestCase):
    def train(self, name, folder, *more):
        script = load()
        sets = [*script.sets_of(name, 240), 'data.text=["nowhere.txt"]', f'data.dir="{folder}/data"', *more]
        return subprocess.run(script.jobs.terse_train(TERSE, script.RECIPE, f"{folder}/run", sets),
                              capture_output=True, text=True, cwd=folder)

    @unittest.skipUnless(TERSE, "no TERSE_PROGRAM")
    def test_terse_takes_them(self):
        """It gets as far as the text, which is not there."""
        script = load()
        with tempfile.TemporaryDirectory() as folder:
            for name in [n for n in script.LABELS if n not in script.PEERS]:
                done = self.train(name, folder)
                self.assertEqual(done.returncode, FILE, f"{name}: {done.stderr}")
            self.assertEqual(self.train("bf16", folder, "exchange.densty=1").returncode, USAGE)

    def test_every_script_explains_itself(self):
        for name in ("time-to-loss", "bench-cluster", "table"):
            status, out, err = run(SCRIPTS / name, "--help")
            self.assertEqual(status, 0, err)
            self.assertIn(f"scripts/{name}", out)

    def test_unknown_contender(self):
        status, _, err = run(SCRIPT, "--only", "bf16,nothing")
        self.assertEqual(status, 2)
        self.assertIn("nothing not known", err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
