"""Real gradients for the figures of L-GreCo in docs/benchmarks.md: trains torch_llama.py's model and
sums the gradients of ten steps before each of the wanted steps.

    bible -f gen1:1-rev22:21 > /tmp/bible.txt
    .venv-peers/bin/python tests/peers/lgreco_gradients.py --text /tmp/bible.txt --out /tmp/gradients.safetensors

The defaults are a Llama of 35.7 million parameters (6 layers, width 640, 5 heads, feed-forward 1792,
vocabulary 4096), 2 x 256 tokens a step, AdamW. Written: `NAME@0`, `NAME@1`, ... [rows, columns] fp32, terse's
names of its matrices and vectors, one call a wanted step. About two minutes on two cores.
"""
import argparse
import io

import sentencepiece
import torch
from safetensors.torch import save_file
from torch import nn
from torch_llama import Llama, groups, packed


def tokens_of(path, vocab):
    model = io.BytesIO()
    with open(path, encoding="utf-8") as lines:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines, model_writer=model, vocab_size=vocab, model_type="bpe",
            byte_fallback=True, normalization_rule_name="identity", minloglevel=2)
    with open(path, encoding="utf-8") as file:
        ids = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue()).encode(file.read())
    return torch.tensor(ids)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--text", required=True)
    p.add_argument("--out", required=True)
    p.add_argument("--at", type=int, nargs="+", default=[50, 100])
    for name, default in (("layers", 6), ("width", 640), ("heads", 5), ("hidden", 1792),
                          ("vocab", 4096), ("context", 256), ("batch", 2), ("sum", 10), ("seed", 1),
                          ("threads", 2)):
        p.add_argument("--" + name, type=int, default=default)
    c = p.parse_args()
    c.kv_heads = c.heads
    torch.set_num_threads(c.threads)
    torch.manual_seed(c.seed)
    tokens = tokens_of(c.text, c.vocab)
    model = Llama(c)
    optimizer = torch.optim.AdamW(groups(model, 0.1), lr=1e-3, betas=(0.9, 0.95), fused=True)
    sums, out = {}, {}
    for step in range(1, max(c.at) + 1):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, step / 20)
        starts = torch.randint(0, len(tokens) - c.context - 1, (c.batch,)).tolist()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(torch.stack([tokens[s:s + c.context + 1] for s in starts]))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for call, at in enumerate(c.at):
            if at - c.sum < step <= at:
                grads = packed({n: p.grad for n, p in model.named_parameters()})
                for name, g in grads.items():
                    key = f"{name}@{call}"
                    sums[key] = sums[key] + g if key in sums else g.clone()
        optimizer.step()
        if step % 10 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)
    for key, g in sums.items():
        out[key] = (g if g.dim() == 2 else g[None]).contiguous()
    save_file(out, c.out)


if __name__ == "__main__":
    main()
