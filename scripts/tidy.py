#!/usr/bin/env python3
"""clang-tidy on many files at the price of few.

    scripts/tidy.py BUILD FILE...      BUILD has CMake's compile_commands.json

Reading torch's headers costs 15 seconds a file, checking one of ours two. So files of one folder with the
same flags are read together, up to eight at a time, as one file that includes them; where that does not
compile (two files with helpers of the same name), the half of it is tried, down to single files.
Prints findings; exits with 1 if there are any."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
TIDY = ROOT / ".venv-tools/bin/clang-tidy"
TOGETHER = 8
HEADERS = re.search(r"^HeaderFilterRegex: '(.*)/\.\*", (ROOT / ".clang-tidy").read_text(), re.M)[1]
# What g++ knows and clang does not.
FOREIGN = re.compile(r" -fpch-preprocess| -o \S+ -c \S+")


def commands(build, work):
    """Flags by file: the last command of each, which is a kernel's widest instruction set."""
    # g++'s omp.h lies among headers of intrinsics that clang must not see.
    omp = subprocess.check_output(["g++", "-print-file-name=include/omp.h"], text=True).strip()
    (work / "include").mkdir(parents=True, exist_ok=True)
    link = work / "include/omp.h"
    link.unlink(missing_ok=True)
    link.symlink_to(omp)
    flags = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        text = FOREIGN.sub("", entry["command"]) + f" -isystem {work}/include -w -Wno-ignored-gch"
        flags[entry["file"]] = text.replace('\\"', '"').split()[1:]
    return flags


def run(files, flags, work):
    """Findings of these files, one a line."""
    name = work / f"{files[0].replace('/', '_')}_{len(files)}.cc"
    name.write_text("".join(f'#include "{ROOT / file}"\n' for file in files))
    done = subprocess.run([TIDY, "--quiet", f"--config-file={ROOT}/.clang-tidy",
                           f"--header-filter={ROOT}/{HEADERS}/.*", "--checks=-bugprone-suspicious-include",
                           name, "--", *flags], capture_output=True, text=True)
    if "clang-diagnostic-error" in done.stdout and len(files) > 1:
        half = len(files) // 2
        return run(files[:half], flags, work) + run(files[half:], flags, work)
    if done.returncode != 0 and not done.stdout:
        return [f"{', '.join(files)}: clang-tidy failed: {done.stderr.strip()}"]
    return [line for line in done.stdout.splitlines() if re.search(r": (error|warning): ", line)]


class Clean:
    """Which files had no findings, by a checksum of all of ours that was read for them."""

    def __init__(self, build, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.read_for = {}  # by source file: itself and its headers
        said = subprocess.run(["ninja", "-C", build, "-t", "deps"], capture_output=True, text=True).stdout
        for part in said.split("\n\n"):
            names = [(ROOT / build / line.strip()).resolve() for line in part.splitlines()[1:]]
            ours = [n for n in names
                    if n.is_relative_to(ROOT) and not n.relative_to(ROOT).parts[0].startswith((".", "build"))]
            if ours:
                self.read_for.setdefault(str(ours[0]), set()).update(ours)

    def stamp(self, file, flags):
        everything = hashlib.sha256(" ".join(flags).encode() + (ROOT / ".clang-tidy").read_bytes())
        for name in sorted(self.read_for[str(ROOT / file)]):
            everything.update(name.read_bytes() if name.exists() else b"gone")
        return self.folder / everything.hexdigest()

    def has(self, file, flags):
        return str(ROOT / file) in self.read_for and self.stamp(file, flags).exists()

    def add(self, files, flags):
        for file in files:
            if str(ROOT / file) in self.read_for:
                self.stamp(file, flags).touch()


def main():
    build, *files = sys.argv[1:]
    work = ROOT / "build/tidy"
    clean = Clean(build, work / "clean")
    known = commands(ROOT / build, work)
    groups = {}
    for file in files:
        if str(ROOT / file) in known:
            flags = known[str(ROOT / file)]
            if clean.has(file, flags):
                continue
            groups.setdefault((os.path.dirname(file), *flags), []).append(file)
    parts = [(members[at:at + TOGETHER], list(key[1:])) for key, members in groups.items()
             for at in range(0, len(members), TOGETHER)]
    found = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {pool.submit(run, *part, work): part for part in parts}
        for part in concurrent.futures.as_completed(running):
            for line in part.result():
                found += 1
                print(line, flush=True)
            if not part.result():
                clean.add(*running[part])
    print(f"clang-tidy: {sum(len(group) for group, _ in parts)} of {len(files)} files read anew, {found} findings")
    return found > 0


if __name__ == "__main__":
    sys.exit(main())
