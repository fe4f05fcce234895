"""What PyTorch reaches with DistributedDataParallel on Gloo: the model of torch_llama.py, bf16 autocast,
clipping and fused AdamW, on tokens that `terse prepare` wrote. scripts/bench-cluster --peers runs it:

  scripts/cluster --hosts 2 --cores-per-host 1 --link 100Mbit --launcher torchrun -- \\
    .venv-peers/bin/python tests/peers/torch_ddp.py --exchange bf16 --data data/bible --out /tmp/steps.json

--exchange  none       gradients stay where they are (no_sync)
            fp32       DDP's own all-reduce
            bf16       its bf16_compress_hook
            powersgd   its powerSGD_hook, rank 4, from step 3 on, all gradients in one bucket: with several
                       its collectives start in different orders on different ranks, and Gloo ends the process

Rank 0 writes the seconds of each step to --out.
"""
import argparse
import contextlib
import json
import pathlib
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from torch_llama import Llama, groups

WHOLE = 1 << 40  # bytes: more than any model here


def one_bucket():
    dist._DEFAULT_FIRST_BUCKET_BYTES = WHOLE
    return {"bucket_cap_mb": WHOLE >> 20}


def wrap(model, exchange):
    ddp = DistributedDataParallel(model, **(one_bucket() if exchange == "powersgd" else {}))
    if exchange == "bf16":
        ddp.register_comm_hook(None, default_hooks.bf16_compress_hook)
    if exchange == "powersgd":
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=4, start_powerSGD_iter=2)
        ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    return ddp


class Loss(torch.nn.Module):
    """DDP prepares its buckets in forward(), so the loss is a module's."""

    def __init__(self, c):
        super().__init__()
        self.llama = Llama(c)

    def forward(self, tokens):
        return self.llama.loss(tokens)


def windows(tokens, rank, size, c):
    """Batches of this rank, drawn at random, without end."""
    chance = np.random.RandomState(1000 * c.seed + rank)
    while True:
        starts = chance.randint(0, len(tokens) - c.context - 1, c.batch)
        rows = [tokens[s:s + c.context + 1].astype(np.int64) for s in starts]
        yield torch.from_numpy(np.stack(rows))


def train(c):
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(c.seed)
    ddp = wrap(Loss(c), c.exchange)
    optimizer = torch.optim.AdamW(groups(ddp.module.llama, 0.1), lr=1e-3, betas=(0.9, 0.95), fused=True)
    batches = windows(np.memmap(pathlib.Path(c.data) / "train.bin", np.uint16, "r"), rank, size, c)
    seconds = []
    for _ in range(c.steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        alone = ddp.no_sync() if c.exchange == "none" else contextlib.nullcontext()
        with alone:
            with torch.autocast("cpu", torch.bfloat16):
                loss = ddp(next(batches))
            loss.backward()
        torch.nn.utils.clip_grad_norm_(ddp.parameters(), 1.0)
        optimizer.step()
        loss.item()
        seconds.append(time.perf_counter() - start)
    if rank == 0:
        out = {"tokens": c.batch * c.context * size, "loss": loss.item(), "seconds": seconds}
        pathlib.Path(c.out).write_text(json.dumps(out))
    dist.destroy_process_group()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--exchange", choices=("none", "fp32", "bf16", "powersgd"), required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True)
    for name, default in (("steps", 12), ("seed", 1), ("layers", 6), ("width", 640), ("heads", 5),
                          ("hidden", 1792), ("vocab", 4096), ("context", 256), ("batch", 2)):
        p.add_argument("--" + name, type=int, default=default)
    c = p.parse_args()
    c.kv_heads = c.heads
    torch.set_num_threads(1)
    train(c)


if __name__ == "__main__":
    main()
