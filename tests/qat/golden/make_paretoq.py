"""Writes paretoq.bin: what ParetoQ's LSQ (LsqBinaryTernaryExtension) does on a few tensors.

    git clone https://github.com/facebookresearch/ParetoQ  (655e338)
    python make_paretoq.py PATH_OF_THE_CLONE/models/utils_quant.py

With 3 and 4 bits, for which ParetoQ takes it, a step a row as its layers have, and one for the matrix. At 1 and 2 bits
and in ternary its gradients and grids are others than LSQ's. Steps are exp of a fp32 number, so that another program has
them to the bit.
Little endian: i64 cases; each: i64 rows, columns, bits, steps; f32 logarithms of the steps; f32 values, gradient of the
output; f32 output, gradient of the values, gradient of the steps.
"""
import importlib.util
import pathlib
import struct
import sys

import numpy as np
import torch

spec = importlib.util.spec_from_file_location("utils_quant", sys.argv[1])
upstream = importlib.util.module_from_spec(spec)
spec.loader.exec_module(upstream)

# Times what train.py begins with, where the largest value lies on the largest code: at 1 and at 2 on a border.
CASES = [(rows, columns, bits, layerwise, factor) for bits in (3, 4) for layerwise in (False, True)
         for rows, columns, factor in ((6, 64, 0.95), (3, 37, 0.55), (4, 96, 1.9))]


def main():
    random = np.random.default_rng(29)
    out = [struct.pack("<q", len(CASES))]
    for rows, columns, bits, layerwise, factor in CASES:
        sizes = np.exp2(random.uniform(-3, 3, (rows, 1)))
        values = torch.tensor(random.standard_normal((rows, columns)) * 0.05 * sizes, dtype=torch.float32)
        gradient = torch.tensor(random.standard_normal((rows, columns)), dtype=torch.float32)
        largest = values.abs().max() if layerwise else values.abs().amax(-1, keepdim=True)
        logs = torch.log(largest * factor / (2 ** (bits - 1) - 1)).reshape(-1, 1)
        if layerwise:
            logs = logs.reshape(1)
        steps = torch.exp(logs.double()).float().requires_grad_()
        leaf = values.clone().requires_grad_()
        output = upstream.LsqBinaryTernaryExtension.apply(leaf, steps, bits, layerwise)
        output.backward(gradient)
        out.append(struct.pack("<4q", rows, columns, bits, steps.numel()))
        out += [t.detach().numpy().tobytes() for t in (logs, values, gradient, output, leaf.grad, steps.grad)]
    pathlib.Path(__file__).with_name("paretoq.bin").write_bytes(b"".join(out))


main()
