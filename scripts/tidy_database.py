#!/usr/bin/env python3
"""Writes the compile commands that clang-tidy reads: DIR/compile_commands.json from CMake's.

    scripts/tidy_database.py build/dev build/tidy

One command a file (the widest instruction set of a kernel, where most of its code is), and an omp.h:
CMake compiles with g++, whose omp.h lies among headers of intrinsics that clang must not see.
"""
import json
import pathlib
import subprocess
import sys

source, target = map(pathlib.Path, sys.argv[1:])
target.mkdir(parents=True, exist_ok=True)
commands = {}
for entry in json.loads((source / "compile_commands.json").read_text()):
    if entry["file"].endswith(".cc"):
        # What only g++ knows.
        entry["command"] = entry["command"].replace(" -fpch-preprocess", "")
        entry["command"] += f" -isystem {target.resolve()}/include"
        commands[entry["file"]] = entry  # the instruction sets come in ascending order
(target / "compile_commands.json").write_text(json.dumps(list(commands.values()), indent=1))

omp = subprocess.check_output(["g++", "-print-file-name=include/omp.h"], text=True).strip()
link = target / "include" / "omp.h"
link.parent.mkdir(exist_ok=True)
link.unlink(missing_ok=True)
link.symlink_to(omp)
