"""Makes gguf_blocks.safetensors: blocks of llama.cpp's own gguf-py (0.19.0) and what it decodes them to.

    .venv-peers/bin/python tests/export/golden/make_gguf_blocks.py
"""
import json
import os
import struct

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.quants import dequantize, quantize

rng = np.random.default_rng(20260101)
x = rng.normal(size=(8, 64)).astype(np.float32)
x[1] *= 1e-6  # scales that are subnormal in fp16
x[2] *= 1e4
x[3] = 0
x[4, :32] = np.abs(x[4, :32])
x[5, :32] = -np.abs(x[5, :32])
x[6] = np.round(x[6] * 3)  # ties

out = {}
for t in (T.Q4_0, T.Q8_0, T.BF16, T.F16):
    blocks = quantize(x, t)
    out[t.name + ".values"] = ("F32", dequantize(blocks, t).astype(np.float32))
    out[t.name + ".blocks"] = ("U8", np.ascontiguousarray(blocks).view(np.uint8).reshape(len(x), -1))

header, offset = {}, 0
for name, (dtype, a) in out.items():
    header[name] = {"dtype": dtype, "shape": a.shape, "data_offsets": [offset, offset + a.nbytes]}
    offset += a.nbytes
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf_blocks.safetensors")
with open(path, "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    for _, a in out.values():
        f.write(a.tobytes())
