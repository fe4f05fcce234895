"""Writes ../schedule_golden.h: learning rates of torch 2.11.0's schedulers.

Run once: .venv-peers/bin/python tests/optim/golden/schedule.py > tests/optim/schedule_golden.h
"""
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR


def rates(make, count):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    scheduler = make(optimizer)
    out = []
    for _ in range(count):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(out) < count:
            scheduler.step()
    return out


def table(name, values):
    body = ",\n    ".join(repr(float(v)) for v in values)
    print(f"inline constexpr double {name}[] = {{\n    {body}}};")


print("// Written by golden/schedule.py with torch " + torch.__version__.split("+")[0] + ".")
print("#pragma once")
print("namespace terse {")
table("kOneCycle", rates(lambda o: OneCycleLR(o, max_lr=1.2e-3, total_steps=100, pct_start=0.1,
                                              div_factor=1e2, final_div_factor=0.1,
                                              cycle_momentum=False), 100))
table("kCosine", rates(lambda o: CosineAnnealingLR(o, T_max=80, eta_min=3e-5), 81))
print("}  // namespace terse")
