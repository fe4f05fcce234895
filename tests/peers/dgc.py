"""The official Deep Gradient Compression as oracle: writes tests/trainer/lab/golden/dgc.safetensors.

  git clone https://github.com/synxlin/deep-gradient-compression DIR     (also mit-han-lab's; 24673d4)
  .venv-peers/bin/python tests/peers/dgc.py DIR                          (torch 2.11.0)

Runs its DGCCompressor and DGCSGDMemory for two ranks in one process, the collectives replaced by what
they compute, and plain SGD after them. Without momentum correction's companions that differ on
purpose: weight decay (theirs has a momentum of its own) and clipping (each tensor by itself).
sample_ratio = 1 makes its threshold that of the exact k largest; below that it estimates one and cuts
what is too much by position (indices[:k]), where terse takes the k largest.

Written: RANK/NAME@STEP gradients and NAME start values, and by variant (vanilla, nesterov, unmasked)
VARIANT/NAME@STEP weights, VARIANT/RANK/NAME.u and .residual (their momentums and velocities).
"""
import os
import pathlib
import sys
import types

import torch

RANKS, STEPS, LR, MOMENTUM, DENSITY = 2, 20, 0.05, 0.9, 0.05
SHAPES = {"a.weight": (40, 50), "b.norm": (30,), "c.weight": (20, 18)}


def stub_horovod():
    """`size` and `rank` are all that compression asks of it here."""
    horovod, torch_module, ops = (types.ModuleType(n) for n in
                                  ("horovod", "horovod.torch", "horovod.torch.mpi_ops"))
    torch_module.size, torch_module.rank = lambda: RANKS, lambda: 1
    for name in ("Average", "allreduce_async_", "allgather_async", "synchronize"):
        setattr(ops, name, name)
    horovod.torch, torch_module.mpi_ops = torch_module, ops
    sys.modules.update({m.__name__: m for m in (horovod, torch_module, ops)})


def run(start, gradients, nesterov, masking):
    from dgc.compression import DGCCompressor
    from dgc.memory import DGCSGDMemory

    weights = {name: value.clone() for name, value in start.items()}
    compressors = []
    for _ in range(RANKS):
        memory = DGCSGDMemory(momentum=MOMENTUM, nesterov=nesterov, momentum_masking=masking)
        memory.initialize(weights.items())
        compressor = DGCCompressor(DENSITY, memory=memory, sample_ratio=1.0)
        compressor.initialize([(n, w) for n, w in weights.items() if w.dim() > 1])
        compressors.append(compressor)
    out = {}
    for step in range(1, STEPS + 1):
        for name, w in weights.items():
            parts = [c.compress(gradients[r][name, step].clone(), name) for r, c in enumerate(compressors)]
            if w.dim() > 1:
                gathered = [torch.cat([part[0][i] for part in parts]) for i in range(2)]
            else:
                gathered = sum(part[0] for part in parts) / RANKS
            # Every rank decompresses the same; dense tensors get their momentum there.
            answers = [c.decompress(gathered if w.dim() > 1 else gathered.clone(), part[1])
                       for c, part in zip(compressors, parts)]
            w.sub_(LR * answers[0])
            out[f"{name}@{step}"] = w.clone()
    for rank, c in enumerate(compressors):
        for name in weights:
            out[f"{rank}/{name}.u"] = c.memory.momentums[name].clone()
            out[f"{rank}/{name}.residual"] = c.memory.velocities[name].clone()
    return out


def main():
    from safetensors.torch import save_file

    sys.path.insert(0, sys.argv[1])
    # dgc/__init__.py, if there is one, may import what needs Horovod whole.
    package = types.ModuleType("dgc")
    package.__path__ = [os.path.join(sys.argv[1], "dgc")]
    sys.modules["dgc"] = package
    stub_horovod()
    torch.manual_seed(5)
    start = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    gradients = [{(name, step): torch.randn(shape) ** 3 for name, shape in SHAPES.items()
                  for step in range(1, STEPS + 1)} for _ in range(RANKS)]
    tensors = dict(start)
    for rank in range(RANKS):
        tensors.update({f"{rank}/{name}@{step}": g for (name, step), g in gradients[rank].items()})
    for variant, nesterov, masking in (("vanilla", False, True), ("nesterov", True, True)):
        out = run(start, gradients, nesterov, masking)
        tensors.update({f"{variant}/{key}": value for key, value in out.items()})
    golden = pathlib.Path(__file__).resolve().parents[1] / "trainer/lab/golden"
    os.umask(0o022)
    save_file({k: v.contiguous() for k, v in tensors.items()}, golden / "dgc.safetensors",
              {"deep-gradient-compression": "24673d45", "torch": torch.__version__})


if __name__ == "__main__":
    main()
