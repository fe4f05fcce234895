"""Log-probabilities of a GGUF Llama by numpy and gguf-py: neither our reader nor our model.

    reference_llama.py MODEL.gguf IDS.json   ->   JSON: summed negative log-likelihood per window

Written from the Llama paper and llama.cpp's conventions (rotary on neighbouring pairs), in fp64.
"""
import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize


class Model:
    def __init__(self, path):
        reader = GGUFReader(path)
        self.w = {t.name: np.asarray(dequantize(t.data, t.tensor_type), np.float64)
                  for t in reader.tensors}
        key = lambda name: reader.fields["llama." + name].contents()
        self.layers, self.heads = key("block_count"), key("attention.head_count")
        self.kv_heads, self.width = key("attention.head_count_kv"), key("embedding_length")
        self.eps = key("attention.layer_norm_rms_epsilon")
        self.base = key("rope.freq_base")

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w[name].reshape(-1)

    def rotate(self, x):  # [time, heads, d]
        d = x.shape[-1]
        angle = np.outer(np.arange(len(x)), self.base ** (-np.arange(0, d, 2) / d))[:, None]
        a, b = x[..., 0::2], x[..., 1::2]
        out = np.empty_like(x)
        out[..., 0::2] = a * np.cos(angle) - b * np.sin(angle)
        out[..., 1::2] = a * np.sin(angle) + b * np.cos(angle)
        return out

    def attention(self, x, b):
        t, d = len(x), self.width // self.heads
        q = self.rotate((x @ self.w[b + "attn_q.weight"].T).reshape(t, self.heads, d))
        k = self.rotate((x @ self.w[b + "attn_k.weight"].T).reshape(t, self.kv_heads, d))
        v = (x @ self.w[b + "attn_v.weight"].T).reshape(t, self.kv_heads, d)
        k, v = (np.repeat(z, self.heads // self.kv_heads, 1) for z in (k, v))
        s = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d)
        s = np.where(np.tril(np.ones((t, t), bool)), s, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        return np.einsum("hij,jhd->ihd", p, v).reshape(t, -1) @ self.w[b + "attn_output.weight"].T

    def logits(self, ids):
        x = self.w["token_embd.weight"][ids]
        for i in range(self.layers):
            b = f"blk.{i}."
            x = x + self.attention(self.norm(x, b + "attn_norm.weight"), b)
            h = self.norm(x, b + "ffn_norm.weight")
            g = h @ self.w[b + "ffn_gate.weight"].T
            h = g / (1 + np.exp(-g)) * (h @ self.w[b + "ffn_up.weight"].T)
            x = x + h @ self.w[b + "ffn_down.weight"].T
        head = self.w.get("output.weight", self.w["token_embd.weight"])
        return self.norm(x, "output_norm.weight") @ head.T

    def nll(self, ids):
        z = self.logits(ids[:-1])
        z -= z.max(-1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
        return -float(logp[np.arange(len(z)), ids[1:]].sum())


if __name__ == "__main__":
    model = Model(sys.argv[1])
    print(json.dumps([model.nll(np.asarray(w)) for w in json.load(open(sys.argv[2]))]))
