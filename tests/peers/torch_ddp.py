"""What PyTorch reaches with DistributedDataParallel on Gloo: the model of torch_llama.py with bf16 autocast,
clipping and fused AdamW, from the weights of `terse train` and on its batches (terse_twin.py).
scripts/bench-cluster --peers takes its step times, scripts/time-to-loss its curve:

  scripts/cluster --hosts 2 --cores-per-host 1 --link 100Mbit --launcher torchrun -- \\
    .venv-peers/bin/python tests/peers/torch_ddp.py --exchange bf16 --data data/bible --out /tmp/steps.json

--exchange  none       gradients stay where they are (no_sync)
            fp32       DDP's own all-reduce
            bf16       its bf16_compress_hook
            powersgd   its powerSGD_hook, from step --powersgd-start + 1 on, all gradients in one bucket:
                       with several its collectives start in different orders on different ranks, and Gloo
                       ends the process
            deepspeed  no DDP: 1-bit Adam over DeepSpeed's compressed all-reduce (deepspeed_train.py)

--eval-every N evaluates after every N steps and at the end: all validation windows, as `terse train` does.

Rank 0 writes to --out: tokens of a step, seconds of each step, "first_loss" of all ranks before the first
update, and "evaluations": step, seconds of the steps so far, loss, and bytes that the interface
GLOO_SOCKET_IFNAME sent in these steps, without 66 bytes of headers a packet. Evaluation counts in neither.
"""
import argparse
import contextlib
import json
import os
import pathlib
import sys
import time

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import terse_twin
from torch_llama import Llama, groups

WHOLE = 1 << 40  # bytes: more than any model here
HEADERS = 66  # of a packet: Ethernet, IP, TCP with time stamps


def one_bucket():
    dist._DEFAULT_FIRST_BUCKET_BYTES = WHOLE
    return {"bucket_cap_mb": WHOLE >> 20}


def wrap(model, c):
    ddp = DistributedDataParallel(model, **(one_bucket() if c.exchange == "powersgd" else {}))
    if c.exchange == "bf16":
        ddp.register_comm_hook(None, default_hooks.bf16_compress_hook)
    if c.exchange == "powersgd":
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=c.powersgd_rank,
                                            start_powerSGD_iter=c.powersgd_start)
        ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    return ddp


class Loss(torch.nn.Module):
    """DDP prepares its buckets in forward(), so the loss is a module's."""

    def __init__(self, c):
        super().__init__()
        self.llama = Llama(c)

    def forward(self, tokens):
        with torch.autocast("cpu", torch.bfloat16):
            return self.llama.loss(tokens)


class Ddp:
    def __init__(self, model, c):
        self.c = c
        self.model = wrap(model, c)
        self.optimizer = torch.optim.AdamW(groups(model.llama, c.weight_decay), lr=c.lr, betas=(0.9, 0.95),
                                           fused=True)

    def step(self, tokens, lr):
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        alone = self.model.no_sync() if self.c.exchange == "none" else contextlib.nullcontext()
        with alone:
            loss = self.model(tokens)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.c.clip)
        self.optimizer.step()
        return loss.item()


def make_trainer(model, c):
    if c.exchange != "deepspeed":
        return Ddp(model, c)
    from deepspeed_train import OnebitAdam
    return OnebitAdam(model, c)


def join(c):
    if c.exchange == "deepspeed":
        from deepspeed_train import join
        return join()
    dist.init_process_group("gloo")


class Wire:
    """Bytes that this host's interface has sent, without headers."""

    def __init__(self):
        interface = os.environ.get("GLOO_SOCKET_IFNAME", "lo")
        self.folder = pathlib.Path("/sys/class/net", interface, "statistics")

    def sent(self):
        sizes, packets = (int((self.folder / f"tx_{what}").read_text()) for what in ("bytes", "packets"))
        return sizes - HEADERS * packets


def mean_of_ranks(value):
    total = torch.tensor([value], dtype=torch.float64)
    dist.all_reduce(total)
    return total.item() / dist.get_world_size()


@torch.no_grad()
def evaluate(model, windows, batch=8):
    """The mean over all windows' tokens; ranks share the windows."""
    share = -(-len(windows) // dist.get_world_size())
    mine = windows[share * dist.get_rank():][:share]
    total = torch.zeros(1, dtype=torch.float64)
    for tokens in mine.split(batch):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model.llama(tokens[:, :-1])
        nll = F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        total += nll.double().sum()
    dist.all_reduce(total)
    return total.item() / windows[:, 1:].numel()


def train(c):
    join(c)
    rank, size = dist.get_rank(), dist.get_world_size()
    torch.manual_seed(c.seed)
    data = pathlib.Path(c.data)
    windows = terse_twin.validation_windows(terse_twin.shard(data / "valid.bin"), c.context)
    batches = terse_twin.batches(terse_twin.shard(data / "train.bin"), c.context, c.batch, c.seed, rank, size)
    model = Loss(c)
    terse_twin.initialize(model.llama, c.seed)
    trainer, wire = make_trainer(model, c), Wire()
    seconds, sent, evaluations, first = [], 0, [], None
    for step in range(1, c.steps + 1):
        before, start = wire.sent(), time.perf_counter()
        loss = trainer.step(next(batches), terse_twin.learning_rate(c.lr, c.warmup, 0.1, step, c.steps))
        seconds.append(time.perf_counter() - start)
        sent += wire.sent() - before
        first = mean_of_ranks(loss) if step == 1 else first
        if c.eval_every and (step % c.eval_every == 0 or step == c.steps):
            evaluations.append({"step": step, "seconds": sum(seconds), "sent": sent,
                                "loss": evaluate(model, windows)})
    if rank == 0:
        out = {"tokens": c.batch * c.context * size, "seconds": seconds, "loss": loss, "first_loss": first,
               "evaluations": evaluations}
        pathlib.Path(c.out).write_text(json.dumps(out))
    dist.destroy_process_group()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--exchange", choices=("none", "fp32", "bf16", "powersgd", "deepspeed"), required=True)
    p.add_argument("--data", required=True)
    p.add_argument("--out", required=True)
    for name, default in (("steps", 12), ("seed", 1), ("layers", 6), ("width", 640), ("heads", 5),
                          ("hidden", 1792), ("vocab", 4096), ("context", 256), ("batch", 2), ("warmup", 0),
                          ("eval_every", 0), ("powersgd_rank", 4), ("powersgd_start", 2), ("freeze", 0)):
        p.add_argument("--" + name.replace("_", "-"), type=int, default=default)
    for name, default in (("lr", 1e-3), ("weight_decay", 0.1), ("clip", 1.0), ("variance_floor", 0.1)):
        p.add_argument("--" + name.replace("_", "-"), type=float, default=default)
    p.add_argument("--per-parameter", action="store_true", help="deepspeed: a scale and a call a parameter")
    c = p.parse_args()
    c.kv_heads = c.heads
    torch.set_num_threads(1)
    train(c)


if __name__ == "__main__":
    main()
