"""Writes lsq.bin: what QuEST's LSQ baseline (LSQQuantizer) does on a few tensors.

    git clone https://github.com/IST-DASLab/QuEST  (c295afd)
    python make_lsq.py PATH_OF_THE_CLONE/src/models/quantization/base_linear.py

Runs on torch alone: the file's other imports are for other classes and are left out. 1 bit is left out,
too: there upstream divides by the root of its largest code, which is 0.
Little endian: i64 cases; each: i64 rows, columns, bits, half (1 = half-integer grid); f64 factor of the
step; f32 values, gradient of the output; f32 first step (LSQ's initial step); then with that step times
the factor: f32 output, gradient of the values; f64 gradient of the step.
"""
import pathlib
import re
import struct
import sys
import types

import numpy as np
import torch

source = pathlib.Path(sys.argv[1]).read_text()
body = re.search(r"^class LSQQuantizer.*?(?=^class )", source, re.S | re.M).group(0)
upstream = types.ModuleType("base_linear")
upstream.__dict__.update({"torch": torch, "nn": torch.nn, "np": np})
exec(body, upstream.__dict__)

CASES = [(rows, columns, bits, half, factor)
         for bits in (2, 3, 4, 6, 8) for half in (0, 1)
         for rows, columns, factor in ((6, 64, 1.0), (3, 37, 0.3), (4, 48, 1.7))]


def main():
    random = np.random.default_rng(23)
    out = [struct.pack("<q", len(CASES))]
    for rows, columns, bits, half, factor in CASES:
        values = torch.tensor(random.standard_normal((rows, columns)) * 0.05, dtype=torch.float32)
        gradient = torch.tensor(random.standard_normal((rows, columns)), dtype=torch.float32)
        quantizer = upstream.LSQQuantizer(bits=bits, raise_zero=bool(half))
        first = float(quantizer.get_learnable_step(values).detach())
        quantizer.alpha_weight.data.mul_(factor)
        leaf = values.clone().requires_grad_()
        output = quantizer(leaf)
        output.backward(gradient)
        # Upstream lets the step's gradient flow through 1e-9 of the output more; not LSQ's.
        extra = 1e-9 * float(gradient.double().sum()) / np.sqrt(values.numel() * quantizer.q_max)
        out.append(struct.pack("<4qd", rows, columns, bits, half, factor))
        out += [values.numpy().tobytes(), gradient.numpy().tobytes(), struct.pack("<f", first),
                output.detach().numpy().tobytes(), leaf.grad.numpy().tobytes(),
                struct.pack("<d", float(quantizer.alpha_weight.grad) - extra)]
    pathlib.Path(__file__).with_name("lsq.bin").write_bytes(b"".join(out))


main()
