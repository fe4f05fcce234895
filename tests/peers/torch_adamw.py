"""torch.optim.AdamW as oracle: writes tests/trainer/lab/golden/adamw.safetensors.

  .venv-peers/bin/python tests/peers/torch_adamw.py        (torch 2.11.0)

Start values NAME and gradients NAME@STEP, as `terse lab optimize` takes them, and what torch makes of
them: expected/NAME@STEP, expected/NAME.m and expected/NAME.v. Matrices decay, vectors do not.
"""
import pathlib

import torch
from safetensors.torch import save_file

STEPS = 12
LR, BETAS, EPS, DECAY = 1e-2, (0.9, 0.95), 1e-8, 0.1


def main():
    torch.manual_seed(11)
    start = {"a.weight": torch.randn(5, 70), "b.norm": torch.randn(9), "c.weight": torch.randn(33, 4)}
    tensors = {name: value.clone() for name, value in start.items()}
    parameters = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in parameters.values() if p.dim() >= 2], "weight_decay": DECAY},
         {"params": [p for p in parameters.values() if p.dim() < 2], "weight_decay": 0.0}],
        lr=LR, betas=BETAS, eps=EPS)
    for step in range(1, STEPS + 1):
        for name, p in parameters.items():
            p.grad = torch.randn(p.shape) * 0.1 * step
            tensors[f"{name}@{step}"] = p.grad.clone()
        optimizer.step()
        for name, p in parameters.items():
            tensors[f"expected/{name}@{step}"] = p.detach().clone()
    for name, p in parameters.items():
        tensors[f"expected/{name}.m"] = optimizer.state[p]["exp_avg"]
        tensors[f"expected/{name}.v"] = optimizer.state[p]["exp_avg_sq"]
    golden = pathlib.Path(__file__).resolve().parents[1] / "trainer/lab/golden"
    golden.mkdir(exist_ok=True)
    save_file(tensors, golden / "adamw.safetensors", {"torch": torch.__version__})


if __name__ == "__main__":
    main()
