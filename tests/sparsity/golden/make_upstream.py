"""Writes upstream.bin: what the code of "Progressive Gradient Flow for Robust N:M Sparsity Training
in Transformers" (arXiv 2402.04744) does on a few tensors.

    git clone https://github.com/abhibambhaniya/progressive_gradient_flow_nm_sparsity  (4ee44a4)
    python make_upstream.py PATH_OF_THE_CLONE/timm/sparse_pruning/sparse_functions.py

The file does not parse as published; one line is indented before it is run. Nothing else is changed.
Little endian: i64 cases; each: i64 rows, columns, N, M; f64 rate (0 = N:M); f64 coefficient; i64 step;
f32 weight, gradient; u8 mask; f32 forward of linear and of exponential decay; f32 weight gradient of
either; f32 weight gradient of SR-STE.
Then i64 structure cases; each: i64 kind (0 stepwise, 1 geometric), N, M, total, dense, fine epochs,
frames; frames x i64 (epoch, N, M).
"""
import pathlib
import struct
import sys
import types

import numpy as np
import torch

source = pathlib.Path(sys.argv[1]).read_text()
fault = "\n       return output*(w_b + (1-w_b)*mask_decay_value)"
assert source.count(fault) == 1
upstream = types.ModuleType("sparse_functions")
exec(source.replace(fault, fault.replace("\n       ", "\n        ")), upstream.__dict__)

CASES = [  # rows, columns, N, M, rate, coefficient, step
    (4, 32, 2, 4, 0.0, 1e-3, 137), (3, 32, 1, 4, 0.0, 8e-4, 1), (3, 48, 2, 8, 0.0, 8e-4, 1249),
    (3, 48, 1, 16, 0.0, 8e-4, 1251), (2, 64, 1, 32, 0.0, 1e-4, 9999), (2, 36, 3, 6, 0.0, 0.02, 25),
    (2, 128, 1, 64, 0.0, 0.5, 1), (2, 24, 5, 12, 0.0, 0.01, 50), (8, 25, 0, 0, 0.75, 0.01, 50)]
STRUCTURES = [(0, 1, 8, 350, 0, 35), (0, 1, 32, 350, 0, 35), (0, 2, 4, 350, 35, 35),
              (0, 1, 16, 100, 10, 7), (1, 1, 8, 350, 0, 35), (1, 2, 4, 300, 5, 33)]


class Config:
    structure_decay_flag = True


def structure(kind, n, m, total, dense, fine):
    config = Config()
    config.structure_decay_type = ["sparsify", "fine"][kind]
    config.n_sparsity, config.m_sparsity = n, m
    config.total_epochs, config.dense_epochs, config.fine_tune_epochs = total, dense, fine
    return upstream.get_decay_config(config)


def main():
    random = np.random.default_rng(17)
    out = [struct.pack("<q", len(CASES))]
    for rows, columns, n, m, rate, coefficient, step in CASES:
        weight = torch.tensor(random.standard_normal((rows, columns)), dtype=torch.float32)
        gradient = torch.tensor(random.standard_normal((rows, columns)), dtype=torch.float32)
        results = []
        for function, more in [(upstream.LinearDecay, (coefficient, step)),
                               (upstream.ExponentialDecay, (coefficient, step)),
                               (upstream.SparseSRSTE, ())]:
            leaf = weight.clone().requires_grad_()
            forward = function.apply(leaf, n, m, rate, *more)
            forward.backward(gradient)
            results.append((forward.detach(), leaf.grad))
        mask = upstream.get_sparse_mask(weight, n, m, rate)
        out.append(struct.pack("<4q2dq", rows, columns, n, m, rate, coefficient, step))
        out += [weight.numpy().tobytes(), gradient.numpy().tobytes(),
                mask.numpy().astype(np.uint8).tobytes()]
        (linear, linear_grad), (exponential, exponential_grad), (_, srste_grad) = results
        assert torch.equal(linear_grad, exponential_grad)
        out += [t.numpy().tobytes() for t in (linear, exponential, linear_grad, srste_grad)]
    out.append(struct.pack("<q", len(STRUCTURES)))
    for case in STRUCTURES:
        frames = structure(*case)
        out.append(struct.pack("<7q", *case, len(frames)))
        for epoch, pattern in frames.items():
            out.append(struct.pack("<3q", epoch, *map(int, pattern.split(":"))))
    pathlib.Path(__file__).with_name("upstream.bin").write_bytes(b"".join(out))


main()
