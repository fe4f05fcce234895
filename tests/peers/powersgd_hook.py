"""torch's powerSGD_hook as oracle: writes tests/comm/exchange/golden/powersgd.safetensors.

  .venv-peers/bin/python tests/peers/powersgd_hook.py

DistributedDataParallel on 2 Gloo ranks with one matrix, whose gradient is set to message() of
tests/peers/deepspeed_onebit.py by the loss sum(weight * message), under powerSGD_hook of rank 3 with error
feedback and warm start. The hook begins at its third call (0 and 1 are plain averages, which DDP demands).
Written: q [3, columns], the first Q as the hook draws it, transposed; answer.C [rows columns] for the
recorded calls C after the hook began. Of each of these calls also the hook's own state: C/q_before and
C/q_after [3, columns], transposed (q_before of call 0 is q), and of rank R C/R/error_before and
C/R/error_after [rows columns].
"""
import os
import pathlib
import sys

os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.algorithms.ddp_comm_hooks import powerSGD_hook as hook
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from deepspeed_onebit import message

ROWS, COLUMNS, RANK, CALLS = 24, 40, 3, 50
RECORDED = (0, 1, 2, 10, 49)
GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "comm/exchange/golden/powersgd.safetensors"


def first_q():
    torch.manual_seed(np.random.RandomState(0).randint(1_000_000_000))
    return torch.randn(1, COLUMNS, RANK)[0].t().contiguous()


def record(out, call, when, state):
    """The hook's Q, the same on both ranks, and both ranks' errors, once its only bucket has them."""
    if call == 0 and when == "before":
        q, error = first_q(), torch.zeros(ROWS * COLUMNS)
    else:
        q = state.q_memory_dict[0].view(COLUMNS, RANK).t()
        error = state.error_dict[0]
    out[f"{call}/q_{when}"] = q.contiguous().clone()
    errors = [torch.empty(ROWS * COLUMNS) for _ in range(2)]
    dist.all_gather(errors, error.flatten().contiguous())
    for rank, e in enumerate(errors):
        out[f"{call}/{rank}/error_{when}"] = e


class Matrix(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(ROWS, COLUMNS))

    def forward(self, gradient):
        return (self.weight * gradient).sum()


def run(rank):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29411")
    dist.init_process_group("gloo", rank=rank, world_size=2)
    model = DistributedDataParallel(Matrix())
    state = hook.PowerSGDState(None, matrix_approximation_rank=RANK, start_powerSGD_iter=2,
                               min_compression_rate=1, random_seed=0)
    model.register_comm_hook(state, hook.powerSGD_hook)
    out = {"q": first_q()}
    for call in range(-2, CALLS):
        model.zero_grad(set_to_none=True)
        gradient = torch.from_numpy(message(ROWS * COLUMNS, rank, max(call, 0))).view(ROWS, COLUMNS)
        if call in RECORDED:
            record(out, call, "before", state)
        model(gradient).backward()
        if call in RECORDED:
            record(out, call, "after", state)
            out[f"answer.{call}"] = model.module.weight.grad.flatten().clone()
    if rank == 0:
        from safetensors.torch import save_file

        save_file(out, GOLDEN, metadata={"torch": torch.__version__, "recipe": "tests/peers/powersgd_hook.py"})
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(run, nprocs=2)
