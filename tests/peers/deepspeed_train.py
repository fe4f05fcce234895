"""1-bit Adam over DeepSpeed 0.19.6's compressed all-reduce, for torch_ddp.py --exchange deepspeed:

  DS_BUILD_OPS=0 .venv-peers/bin/pip install --no-build-isolation deepspeed==0.19.6

compressed_allreduce and its error feedback are DeepSpeed's, with the two shims of deepspeed_onebit.py (numpy
packs the bits). Its engine wants an accelerator, so the optimizer's lines are repeated here from
runtime/fp16/onebit/adam.py: neither moment is corrected; a dense fp32 average and clipping by its norm for
--freeze steps; then momentum is averaged by 1 bit, each rank's gradient clipped by its own norm. Momentum stays
0 where no gradient had come at the freeze ('exp_avg_mask'). As in its fp16 and bf16 engines all parameters are
one fp32 tensor: one scale and four collectives a step; --per-parameter is what its fp32 engine does.

Otherwise than there, so that the curves compare the transports:
- Every gradient counts, where DeepSpeed drops its first one and the one at the freeze.
- Weight decay is for matrices only.
- Roots of the frozen variance are at least --variance-floor of the root mean square over what shares their
  scale, as terse has it (optim/onebit_adam.h): a coordinate much fainter than the scale would be thrown about.
  DeepSpeed has no such bound, which is --variance-floor 0.
"""
import sys

import torch
import torch.distributed as dist

from deepspeed_onebit import install_shims

BETAS, EPS = (0.9, 0.95), 1e-8
DEAD = 1e-24  # a variance that no gradient has touched


def join():
    import deepspeed
    # Minutes of compiling, for ranks that share a machine's memory. By name: deepspeed.comm.torch is torch.
    sys.modules["deepspeed.comm.torch"].build_shm_op = lambda: None
    deepspeed.init_distributed("gloo", verbose=False)


class Part:
    """A range of the flat tensor with a scale of its own."""

    def __init__(self, begin, size, ranks):
        self.range = slice(begin, begin + size)
        padded = -(-size // (8 * ranks)) * 8 * ranks  # whole bytes for every rank
        self.worker_error, self.server_error = torch.zeros(padded), torch.zeros(padded // ranks)


class OnebitAdam:
    def __init__(self, model, c):
        if c.freeze < 1:
            raise SystemExit("--exchange deepspeed needs --freeze N: dense steps, at least 1")
        self.model, self.c = model, c
        self.backend = install_shims()()
        self.steps, self.size = 0, dist.get_world_size()
        # Matrices first: what decays is one range.
        decays = {id(p) for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n}
        self.parameters = sorted(model.parameters(), key=lambda p: id(p) not in decays)
        self.decayed = sum(p.numel() for p in self.parameters if id(p) in decays)
        self.flatten()
        self.m, self.v = torch.zeros_like(self.flat), torch.zeros_like(self.flat)

    def flatten(self):
        """Parameters and their gradients become views."""
        self.flat = torch.cat([p.detach().reshape(-1) for p in self.parameters])
        self.gradient = torch.zeros_like(self.flat)
        begin, self.parts = 0, []
        for p in self.parameters:
            part = Part(begin, p.numel(), self.size)
            p.data = self.flat[part.range].view_as(p)
            p.grad = self.gradient[part.range].view_as(p)
            self.parts.append(part)
            begin += p.numel()
        if not self.c.per_parameter:
            self.parts = [Part(0, begin, self.size)]

    def step(self, tokens, lr):
        self.gradient.zero_()
        loss = self.model(tokens)
        loss.backward()
        self.steps += 1
        if self.steps <= self.c.freeze:
            update = self.dense()
        else:
            update = self.compressed()
        update[:self.decayed].add_(self.flat[:self.decayed], alpha=self.c.weight_decay)
        self.flat.add_(update, alpha=-lr)
        if self.steps == self.c.freeze:
            self.freeze()
        return loss.item()

    def dense(self):
        dist.all_reduce(self.gradient)
        self.gradient.div_(self.size)
        self.clip()
        self.m.mul_(BETAS[0]).add_(self.gradient, alpha=1 - BETAS[0])
        self.v.mul_(BETAS[1]).addcmul_(self.gradient, self.gradient, value=1 - BETAS[1])
        return self.m / (self.v.sqrt().add_(EPS))

    def compressed(self):
        self.clip()
        self.m.mul_(BETAS[0]).add_(self.gradient, alpha=1 - BETAS[0])
        for part in self.parts:
            mine = self.m[part.range]
            answer = self.backend.compressed_allreduce(mine, part.worker_error, part.server_error,
                                                       dist.get_rank())
            if answer.data_ptr() != mine.data_ptr():  # it was padded
                mine.copy_(answer)
        self.m.mul_(self.mask)
        return self.m / self.root

    def clip(self):
        norm = torch.linalg.vector_norm(self.gradient)
        self.gradient.mul_((self.c.clip / (norm + 1e-6)).clamp(max=1.0))

    def freeze(self):
        live = self.v > DEAD
        self.mask = live.float()
        for part in self.parts:
            v, alive = self.v[part.range], live[part.range]
            if alive.any():
                v.clamp_(min=self.c.variance_floor**2 * v[alive].double().mean().item())
        self.root = self.v.sqrt().add_(EPS)
