#!/usr/bin/env python3
"""A small vision transformer by timm, in fp32: weights, logits, loss and gradients for vit_test.cc.

    timm_vit.py OUT       (pip install --no-deps timm==1.0.20 torchvision==0.26.0 beside .venv-peers)
"""
import sys
from functools import partial

import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

torch.manual_seed(3)
torch.set_num_threads(1)
# Two channels and a height unlike the width, so that no order of dimensions can be mistaken.
CHANNELS, HEIGHT, WIDTH, PATCH, TOP = 2, 4, 8, 2, 16
model = VisionTransformer(img_size=(HEIGHT, WIDTH), patch_size=PATCH, in_chans=CHANNELS, num_classes=7,
                          embed_dim=32, depth=2, num_heads=4, mlp_ratio=1.5,
                          norm_layer=partial(torch.nn.LayerNorm, eps=1e-5))
with torch.no_grad():
    for name, p in model.named_parameters():  # biases and norms, too, must matter
        p.copy_(torch.randn_like(p) * (0.1 if p.dim() > 1 else 0.3) + (1.0 if "norm" in name and "weight" in name else 0.0))
pixels = torch.randint(0, TOP + 1, (5, CHANNELS, HEIGHT, WIDTH))
labels = torch.randint(0, 7, (5,))
logits = model(2.0 * pixels / TOP - 1.0)
loss = torch.nn.functional.cross_entropy(logits, labels)
loss.backward()


def held(p):
    """As trainer/model/vit.h holds it: tables without leading ones, convolutions as matrices."""
    if p.dim() == 3:
        return p.reshape(p.shape[1], -1).squeeze(0).contiguous()
    return p.flatten(1).contiguous() if p.dim() > 1 else p


out = {"images": torch.cat([pixels.flatten(1), labels[:, None]], 1), "logits": logits, "loss": loss}
for name, p in model.named_parameters():
    out[f"weight.{name}"], out[f"gradient.{name}"] = held(p), held(p.grad)
save_file({k: v.detach().clone() for k, v in out.items()}, sys.argv[1])
