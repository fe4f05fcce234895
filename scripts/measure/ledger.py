"""Finished rows of a measurement, as a CSV file of the tree: a script that was stopped goes on there."""

import csv
import os
import subprocess
import threading

from measure.jobs import ROOT

LOCK = threading.Lock()


def finished(path):
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def append(path, columns, records):
    """All or, but for a full disk, none: what is appended together is never there in part."""
    with LOCK, open(path, "a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if file.tell() == 0:
            writer.writeheader()
        writer.writerows(records)
        file.flush()
        os.fsync(file.fileno())


def version():
    """Of the tree that a row was measured with."""
    described = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True,
                               text=True)
    return described.stdout.strip()
