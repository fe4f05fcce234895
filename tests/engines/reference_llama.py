"""Log-probabilities of a Hugging Face Llama folder by numpy: neither our reader nor our model.

    reference_llama.py FOLDER IDS.json   ->   JSON: summed negative log-likelihood per window

Written from the Llama paper and Hugging Face's conventions (rotary on halves of a head), in fp64, so
that llama.cpp (rotary on neighbours) agrees only where rows of q and k were moved rightly.
"""
import json
import pathlib
import sys

import numpy as np
from safetensors_file import read_safetensors


class Model:
    def __init__(self, folder):
        folder = pathlib.Path(folder)
        self.w = {n: t.astype(np.float64)
                  for n, t in read_safetensors(folder / "model.safetensors").items()}
        config = json.loads((folder / "config.json").read_text())
        self.layers, self.heads = config["num_hidden_layers"], config["num_attention_heads"]
        self.kv_heads, self.width = config["num_key_value_heads"], config["hidden_size"]
        self.eps, self.base = config["rms_norm_eps"], config["rope_theta"]

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w[name].reshape(-1)

    def rotate(self, x):  # [time, heads, d]
        d = x.shape[-1]
        angle = np.outer(np.arange(len(x)), self.base ** (-np.arange(0, d, 2) / d))[:, None]
        a, b = x[..., :d // 2], x[..., d // 2:]
        return np.concatenate([a * np.cos(angle) - b * np.sin(angle),
                               a * np.sin(angle) + b * np.cos(angle)], -1)

    def attention(self, x, b):
        t, d = len(x), self.width // self.heads
        q = self.rotate((x @ self.w[b + "self_attn.q_proj.weight"].T).reshape(t, self.heads, d))
        k = self.rotate((x @ self.w[b + "self_attn.k_proj.weight"].T).reshape(t, self.kv_heads, d))
        v = (x @ self.w[b + "self_attn.v_proj.weight"].T).reshape(t, self.kv_heads, d)
        k, v = (np.repeat(z, self.heads // self.kv_heads, 1) for z in (k, v))
        s = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(d)
        s = np.where(np.tril(np.ones((t, t), bool)), s, -np.inf)
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        mixed = np.einsum("hij,jhd->ihd", p, v).reshape(t, -1)
        return mixed @ self.w[b + "self_attn.o_proj.weight"].T

    def logits(self, ids):
        x = self.w["model.embed_tokens.weight"][ids]
        for i in range(self.layers):
            b = f"model.layers.{i}."
            x = x + self.attention(self.norm(x, b + "input_layernorm.weight"), b)
            h = self.norm(x, b + "post_attention_layernorm.weight")
            g = h @ self.w[b + "mlp.gate_proj.weight"].T
            h = g / (1 + np.exp(-g)) * (h @ self.w[b + "mlp.up_proj.weight"].T)
            x = x + h @ self.w[b + "mlp.down_proj.weight"].T
        head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])
        return self.norm(x, "model.norm.weight") @ head.T

    def nll(self, ids):
        z = self.logits(ids[:-1])
        z -= z.max(-1, keepdims=True)
        logp = z - np.log(np.exp(z).sum(-1, keepdims=True))
        return -float(logp[np.arange(len(z)), ids[1:]].sum())


if __name__ == "__main__":
    model = Model(sys.argv[1])
    print(json.dumps([model.nll(np.asarray(w)) for w in json.load(open(sys.argv[2]))]))
