"""L-GreCo's published dynamic programme as oracle: writes tests/comm/allocation/golden/lgreco.txt.

    git clone https://github.com/LGrCo/L-GreCo        (read at 13942f0d)
    .venv-peers/bin/python tests/peers/lgreco_dp.py L-GreCo/ResNet18/hooks/lgreco_hook.py

Cuts the block from "Discretize the Error Table" to "Save the Optimal Compression Scheme" out of the given
file and runs it on 200 synthetic tables; nothing of it is kept. Golden file, one table a line:

    alpha layers choices reference  errors (layers x choices, row by row)  sizes (the same)  total

Errors are multiples of 1/1024 and sizes integers, so that text is exact. total = the size of upstream's
choice, or -1 where its table has no solution: it answers -1 for every layer then, unnoticed. alpha is 1
and 1.25 in turn: with 1 the uniform choice spends all of the budget, and upstream's rounding excludes it.
"""
import pathlib
import sys
import textwrap
import types

import numpy as np


def block(path):
    lines = pathlib.Path(path).read_text().splitlines()
    first = next(i for i, l in enumerate(lines) if "Discretize the Error Table" in l)
    last = next(i for i, l in enumerate(lines) if i > first and "Save the Optimal Compression" in l)
    return compile(textwrap.dedent("\n".join(lines[first:last])), "upstream", "exec")


def solve(code, errors, sizes, reference, alpha):
    state = types.SimpleNamespace(matrix_approximation_rank=reference, min_rank=0, alpha=alpha,
                                  rank_range=errors.shape[1])
    names = {"np": np, "state": state, "compression_errors": errors.copy(), "compressed_sizes": sizes,
             "num_layers": len(errors), "DPBUCKETS": 10000, "opt_compress_param": []}
    exec(code, names)
    choice = names["opt_compress_param"]
    if not np.isfinite(names["DP"][-1]).any():
        assert choice == [-1] * len(errors), choice
        return -1
    return int(sum(sizes[l, c] for l, c in enumerate(choice)))


def main():
    code = block(sys.argv[1])
    random = np.random.default_rng(1)
    lines = []
    for table in range(200):
        alpha = 1.25 if table % 2 else 1.0
        layers, choices = random.integers(1, 7), random.integers(1, 6)
        scale = random.uniform(1, 100, (layers, 1))
        ranks = np.arange(1, choices + 1)
        errors = np.ceil(1024 * scale / (ranks + random.uniform(0, 1, (layers, choices)))) / 1024
        sizes = random.integers(1, 5000, (layers, 1)) * ranks.astype(float)
        reference = int(random.integers(0, choices))
        total = solve(code, errors, sizes, reference, alpha)
        numbers = [repr(float(v)) for v in errors.ravel()] + [str(int(v)) for v in sizes.ravel()]
        lines.append(" ".join([str(alpha), str(layers), str(choices), str(reference), *numbers, str(total)]))
    golden = pathlib.Path(__file__).resolve().parents[1] / "comm/allocation/golden/lgreco.txt"
    golden.parent.mkdir(exist_ok=True)
    golden.write_text("\n".join(lines) + "\n")
    print(len(lines), "tables,", sum(l.endswith(" -1") for l in lines), "without a solution upstream")


if __name__ == "__main__":
    main()
