#!/usr/bin/env python3
"""Holds the direction of dependencies between folders, by their #includes.

    includes.py ROOT          prints each violation with file and line; exits 1 if there is one
    includes.py --self-test   breaks each rule in a small tree and sees that it is found
"""
import os
import re
import sys
import tempfile

# Folder -> what it may include besides itself. Nothing points back.
ALLOWED = {
    "base": set(),
    "launch": {"base"},
    "comm": {"base", "launch"},
    "sparsity": {"base"},
    "qat": {"base", "sparsity"},
    "optim": {"base", "comm", "qat"},
    "export": {"base", "comm", "sparsity", "qat"},
    "trainer": {"base", "launch", "comm", "sparsity", "qat", "optim", "export"},
    "parallel": {"base", "launch", "comm", "optim", "trainer"},
}
# Parts of trainer/ that a program without recipe, data and model may stand on.
PARALLEL_PARTS = {"checkpoint"}
# Parts of trainer/ that stand alone: what they may include of trainer/.
TRAINER_PARTS = {
    "telemetry": {"telemetry"},
    "data": {"data"},
    "checkpoint": {"checkpoint"},
    "model": {"model"},
    "recipe": {"recipe", "model"},
}
# Built without LibTorch: directly or through another header, no torch.
TORCH_FREE = ("base/", "export/", "comm/allocation/", "comm/plan/exchange_costs.", "comm/plan/link.", "comm/plan/memory.",
              "comm/plan/predict.", "comm/codec/", "comm/kernels/", "optim/kernels/",
              "sparsity/", "qat/kernels/", "qat/codes.", "trainer/telemetry/", "trainer/data/", "trainer/checkpoint/")
# Headers that cost seconds are for .cc files alone.
HEAVY = re.compile(r"^(nlohmann/json\.hpp|toml\+\+/|CLI/|Eigen/)")
TORCH = re.compile(r"^(torch|ATen|c10)/")
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]')
SOURCES = (".h", ".cc", ".cu", ".cuh")


def read_tree(root):
    """{path: [(line number, included path)]} of all sources, paths relative to the root."""
    tree = {}
    for folder in ALLOWED:
        for where, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                if name.endswith(SOURCES):
                    path = os.path.join(where, name)
                    with open(path, encoding="utf-8") as file:
                        found = [(i, m.group(1)) for i, line in enumerate(file, 1)
                                 if (m := INCLUDE.match(line))]
                    tree[os.path.relpath(path, root)] = found
    return tree


def reaches_torch(tree, path, known):
    """The chain of headers from `path` to torch, or None."""
    if path not in known:
        known[path] = None  # guards against cycles
        for _, target in tree.get(path, []):
            if TORCH.match(target):
                known[path] = [path, target]
                break
            if target in tree and (chain := reaches_torch(tree, target, known)):
                known[path] = [path, *chain]
                break
    return known[path]


def folder_fault(path, target):
    folder, to = path.split("/")[0], target.split("/")[0]
    if to == "tests":
        return "the product includes tests"
    if to not in ALLOWED or to == folder and folder != "trainer":
        return None
    if to != folder and to not in ALLOWED[folder]:
        return f"{folder}/ must not include {to}/"
    if folder == "parallel" and to == "trainer" and target.split("/")[1] not in PARALLEL_PARTS:
        return f"parallel/ must not include trainer/{target.split('/')[1]}"
    if folder == "trainer" and to == "trainer" and path.count("/") > 1:
        part, other = path.split("/")[1], target.split("/")[1]
        if part in TRAINER_PARTS and other not in TRAINER_PARTS[part]:
            return f"trainer/{part}/ must not include trainer/{other}"
    return None


def faults(tree):
    known = {}
    for path, includes in sorted(tree.items()):
        for line, target in includes:
            if fault := folder_fault(path, target):
                yield f"{path}:{line}: {target}: {fault}"
            if path.endswith(".h") and HEAVY.match(target):
                yield f"{path}:{line}: {target}: costs seconds; include it in .cc files only"
        torch_free = path.startswith(TORCH_FREE) or path.endswith((".cu", ".cuh"))
        if torch_free and (chain := reaches_torch(tree, path, known)):
            yield f"{path}: is built without torch but includes it: {' -> '.join(chain)}"


def self_test():
    cases = {
        "base/a.h": '#include "comm/b.h"',
        "comm/a.cc": '#include "qat/codes.h"',
        "qat/a.cc": '#include "trainer/x.h"',
        "optim/a.cc": '#include "export/x.h"',
        "trainer/telemetry/a.cc": '#include "trainer/session.h"',
        "export/a.cc": '#include "comm/exchange.h"',
        "comm/k.cu": "#include <torch/torch.h>",
        "launch/a.h": "#include <nlohmann/json.hpp>",
        "trainer/a.cc": '#include "tests/x.h"',
        "trainer/b.cc": '#include "parallel/x.h"',
        "parallel/a.cc": '#include "trainer/session.h"',
    }
    fine = {
        "comm/exchange.h": "#include <ATen/core/Tensor.h>",
        "trainer/session.h": '#include "comm/exchange.h"\n#include "trainer/telemetry/x.h"',
        "parallel/b.cc": '#include "trainer/checkpoint/x.h"',
        "qat/codes.h": '#include <vector>\n#include "base/x.h"',
        "base/x.cc": "#include <nlohmann/json.hpp>",
    }
    with tempfile.TemporaryDirectory() as root:
        for path, text in (cases | fine).items():
            os.makedirs(os.path.dirname(os.path.join(root, path)), exist_ok=True)
            with open(os.path.join(root, path), "w") as file:
                file.write(text + "\n")
        found = list(faults(read_tree(root)))
    for path in cases:
        assert any(f.startswith(path + ":") for f in found), f"not found: {path}"
    for path in fine:
        assert not any(f.startswith(path + ":") for f in found), f"wrongly found: {path}"


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    tree = read_tree(sys.argv[1])
    if "base/error.h" not in tree:
        sys.exit(f"{sys.argv[1]} is not the root of terse")
    found = list(faults(tree))
    print("\n".join(found) if found else f"{len(tree)} files include downwards only")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
