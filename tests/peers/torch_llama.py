"""A plain PyTorch Llama, written independently of terse: oracle and speed baseline.

    torch_llama.py --golden FILE     tiny model in fp32: weights, tokens, logits, loss, gradients and
                                     ten AdamW losses, as tests/trainer/model/llama_test.cc reads them
    torch_llama.py --bench           reads one line from standard input for every measurement ("step"),
                                     answers each with the seconds of one training step; ends with input
"""
import argparse
import math
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


class RMSNorm(nn.Module):
    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x):
        h = x.float()
        h = h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * h.to(x.dtype)


def rotate_half(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.kv_heads, self.head = c.heads, c.kv_heads, c.width // c.heads
        self.q_proj = nn.Linear(c.width, c.heads * self.head, bias=False)
        self.k_proj = nn.Linear(c.width, c.kv_heads * self.head, bias=False)
        self.v_proj = nn.Linear(c.width, c.kv_heads * self.head, bias=False)
        self.o_proj = nn.Linear(c.width, c.width, bias=False)

    def forward(self, x, cos, sin):
        b, t, w = x.shape
        q = self.q_proj(x).view(b, t, self.heads, self.head).transpose(1, 2)
        k = self.k_proj(x).view(b, t, self.kv_heads, self.head).transpose(1, 2)
        v = self.v_proj(x).view(b, t, self.kv_heads, self.head).transpose(1, 2)
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        gqa = self.heads != self.kv_heads
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=gqa)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, w))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = nn.Linear(c.width, c.hidden, bias=False)
        self.up_proj = nn.Linear(c.width, c.hidden, bias=False)
        self.down_proj = nn.Linear(c.hidden, c.width, bias=False)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c.width)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.width)
        self.mlp = Mlp(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab, c.width)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.layers))
        self.norm = RMSNorm(c.width)
        self.lm_head = nn.Linear(c.width, c.vocab, bias=False)
        head = c.width // c.heads
        inverse = 10000.0 ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
        angle = torch.outer(torch.arange(c.context, dtype=torch.float64), inverse)
        angle = torch.cat((angle, angle), dim=-1)
        self.register_buffer("cos", angle.cos().float())
        self.register_buffer("sin", angle.sin().float())
        for name, p in self.named_parameters():
            if p.dim() == 2:
                residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * c.layers) if residual else 0.02)

    def forward(self, tokens):
        t = tokens.shape[1]
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, self.cos[:t], self.sin[:t])
        return self.lm_head(self.norm(x))

    def loss(self, tokens):
        logits = self(tokens[:, :-1])
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def terse_name(name):
    """Of the whole that a parameter is a part of: q, k, v and gate, up are rows of one matrix."""
    full = name if name.startswith("lm_head") else "model." + name
    for part, whole in (("q_proj", "qkv_proj"), ("k_proj", "qkv_proj"), ("v_proj", "qkv_proj"),
                        ("gate_proj", "gate_up_proj"), ("up_proj", "gate_up_proj")):
        full = full.replace(f".{part}.", f".{whole}.")
    return full


def packed(tensors):
    out = {}
    for name, t in tensors.items():
        full = terse_name(name)
        out[full] = torch.cat((out[full], t)) if full in out else t.clone()
    return out


def groups(model, decay):
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


def golden(c, path):
    from safetensors.torch import save_file

    torch.manual_seed(1)
    model = Llama(c)
    with torch.no_grad():  # larger and less regular than the initial weights, so that all terms count
        for p in model.parameters():
            p.mul_(4.0) if p.dim() == 2 else p.add_(0.1 * torch.randn_like(p))
    tokens = torch.randint(0, c.vocab, (c.batch, c.context + 1))
    out = {"tokens": tokens, "logits": model(tokens[:, :-1]).detach()}
    for name, t in packed({n: p.detach() for n, p in model.named_parameters()}).items():
        out["weight." + name] = t
    loss = model.loss(tokens)
    loss.backward()
    for name, t in packed({n: p.grad for n, p in model.named_parameters()}).items():
        out["gradient." + name] = t
    optimizer = torch.optim.AdamW(groups(model, 0.1), lr=1e-2, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model.loss(tokens)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    out["losses"] = torch.tensor(losses)
    save_file({n: t.contiguous() for n, t in out.items()}, path)


def bench(c):
    torch.manual_seed(1)
    model = Llama(c)
    run = torch.compile(model.loss) if c.compile else model.loss
    optimizer = torch.optim.AdamW(groups(model, 0.1), lr=1e-3, betas=(0.9, 0.95), fused=True)
    tokens = torch.randint(0, c.vocab, (c.batch, c.context + 1))

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = run(tokens)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.item()

    for _ in range(3):
        step()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--golden")
    p.add_argument("--bench", action="store_true")
    p.add_argument("--compile", action="store_true")
    for name, default in (("layers", 6), ("width", 256), ("heads", 4), ("kv_heads", 0),
                          ("hidden", 768), ("vocab", 4096), ("context", 256), ("batch", 8),
                          ("threads", 2)):
        p.add_argument("--" + name.replace("_", "-"), type=int, default=default)
    c = p.parse_args()
    c.kv_heads = c.kv_heads or c.heads
    torch.set_num_threads(c.threads)
    if c.golden:
        golden(c, c.golden)
    if c.bench:
        bench(c)


if __name__ == "__main__":
    main()
