"""DeepSpeed's ZeroOneAdam as oracle: writes tests/trainer/lab/golden/zero_one_adam.<rank>.safetensors.

  python3 -m venv .venv-peers
  .venv-peers/bin/pip install torch==2.11.0 numpy safetensors setuptools wheel
  DS_BUILD_OPS=0 .venv-peers/bin/pip install --no-build-isolation deepspeed==0.19.6
  .venv-peers/bin/python tests/peers/deepspeed_zeroone.py

Two ranks are two optimizers in two threads. Their communicator is a stub that averages exactly:
what one bit makes of a message has its own golden file (deepspeed_onebit.py); here it is what is
averaged, when, and what is made of the answer. The file of a rank holds what `terse lab optimize`
takes (NAME, NAME@STEP), and in the first one what DeepSpeed makes of it: expected/RANK/NAME@STEP
(local steps leave ranks apart), expected/NAME.m, expected/NAME.v. Metadata: settings as JSON.

What DeepSpeed 0.19.6 does otherwise, and what is done about it here:
- It drops its first gradient (an initialization step, which counts): a zero gradient is spent on
  it, and the counter is set back by one when the variance freezes, so that ranks meet at the same
  multiples. With var_update_scaler = 2 both refresh at the same updates before.
- It corrects no moment: lr and eps are given such that lr' m / (sqrt(v) + eps') is the corrected
  update, lr sqrt(1 - b2^n) / (1 - b1^t) and eps sqrt(1 - b2^n) after n refreshes.
- It adds weight decay to the update and so to the accumulator, from which it then takes momentum:
  none here.
- Its local parameters are moved back by the accumulator, which rounds, on each rank otherwise.
"""
import json
import math
import os
import pathlib
import threading

os.environ.setdefault("DS_ACCELERATOR", "cpu")

import torch

STEPS, FREEZE, KAPPA, CLIPPER, SCALER = 40, 13, 2, 4, 5
LR, BETAS, EPS = 1e-2, (0.9, 0.95), 1e-8
RANKS = 2
SHAPES = {"a.weight": (5, 30), "b.norm": (9,), "c.weight": (13, 4)}


class Meeting:
    """The mean over the ranks of what each brings."""

    def __init__(self):
        self.barrier = threading.Barrier(RANKS, timeout=60)
        self.brought = [None] * RANKS

    def mean(self, rank, tensor):
        self.brought[rank] = tensor.clone()
        self.barrier.wait()
        result = sum(t.double() for t in self.brought).div(RANKS).float()
        self.barrier.wait()
        return result


class Communicator:
    size = RANKS

    def __init__(self, meeting, rank):
        self.meeting, self.rank = meeting, rank

    def compressed_allreduce(self, buffer, worker_error, server_error, local_rank):
        return self.meeting.mean(self.rank, buffer)


class Engine:
    mpu = None
    local_rank = 0
    enable_backward_allreduce = True


def optimizer_of(parameters, meeting, rank):
    import deepspeed.runtime.comm.compressed as compressed
    import deepspeed.runtime.fp16.onebit.zoadam as zoadam

    zoadam.dist.is_initialized = lambda: True
    zoadam.dist.get_rank = lambda: rank
    compressed.CompressedBackend = lambda mpu: Communicator(meeting, rank)
    engine = Engine()
    return engine, zoadam.ZeroOneAdam(
        parameters, deepspeed=engine, lr=LR, betas=BETAS, eps=EPS, var_freeze_step=FREEZE,
        var_update_scaler=KAPPA, local_step_scaler=SCALER, local_step_clipper=CLIPPER,
        comm_backend_name="compressed")


def run(rank, start, gradients, meeting, engine, optimizer, parameters, out):
    named = list(zip(start, parameters))
    for p in parameters:
        p.grad = torch.zeros_like(p)
    optimizer.step()  # the initialization step
    refreshes = 0
    for step in range(1, STEPS + 1):
        states = [optimizer.state[p] for p in parameters]
        refresh = engine.enable_backward_allreduce and not optimizer.freeze_key
        refreshes += refresh
        if step == FREEZE + 1:
            assert optimizer.freeze_key
            for s in states:
                s["step"] -= 1
        correction = math.sqrt(1 - BETAS[1] ** refreshes)
        for group in optimizer.param_groups:
            group["lr"] = LR * correction / (1 - BETAS[0] ** step)
            group["eps"] = EPS * correction
        for name, p in named:
            g = gradients[step][name]
            p.grad = meeting.mean(rank, g) if refresh else g.clone()
        optimizer.step()
        for name, p in named:
            out[f"expected/{rank}/{name}@{step}"] = p.detach().clone()
        out.setdefault("refreshes", []).append(bool(refresh))
        out.setdefault("intervals", []).append(optimizer.state[parameters[0]]["local_step_interval"])
    for name, p in named:
        out[f"expected/{name}.m"] = optimizer.state[p]["exp_avg"].clone()
        out[f"expected/{name}.v"] = optimizer.state[p]["exp_avg_sq"].clone() / (1 - BETAS[1] ** refreshes)


def main():
    import deepspeed
    from safetensors.torch import save_file

    torch.manual_seed(3)
    torch.set_num_threads(1)
    start = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    base = {name: torch.randn(shape) for name, shape in SHAPES.items()}
    gradients = [{step: {name: base[name] * 0.5 + torch.randn(shape) for name, shape in SHAPES.items()}
                  for step in range(1, STEPS + 1)} for _ in range(RANKS)]
    meeting, outs, threads = Meeting(), [{} for _ in range(RANKS)], []
    for rank in range(RANKS):
        parameters = [start[name].clone().requires_grad_() for name in start]
        engine, optimizer = optimizer_of(parameters, meeting, rank)
        threads.append(threading.Thread(target=run, args=(
            rank, start, gradients[rank], meeting, engine, optimizer, parameters, outs[rank])))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print("refreshed after", [i + 1 for i, r in enumerate(outs[0].pop("refreshes")) if r])
    print("interval after each step", outs[0].pop("intervals"))
    outs[1].pop("refreshes"), outs[1].pop("intervals")
    settings = {"lr": LR, "betas": BETAS, "eps": EPS, "freeze": FREEZE, "refresh_doubling": KAPPA,
                "local_steps": CLIPPER, "local_doubling": SCALER, "steps": STEPS}
    os.umask(0o022)
    golden = pathlib.Path(__file__).resolve().parents[1] / "trainer/lab/golden"
    for rank in range(RANKS):
        tensors = dict(start)
        for step, by_name in gradients[rank].items():
            tensors.update({f"{name}@{step}": g for name, g in by_name.items()})
        tensors.update({k: v for k, v in outs[rank].items() if rank == 0 or k.startswith("expected/1/")})
        save_file({k: v.contiguous() for k, v in tensors.items()}, golden / f"zero_one_adam.{rank}.safetensors",
                  {"deepspeed": deepspeed.__version__, "torch": torch.__version__,
                   "settings": json.dumps(settings)})


if __name__ == "__main__":
    main()
