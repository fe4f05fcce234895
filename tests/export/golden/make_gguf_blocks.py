"""Makes gguf_blocks.safetensors: blocks of every type that terse writes, and what llama.cpp makes of them.

    .venv-peers/bin/python tests/export/golden/make_gguf_blocks.py

Encoded and decoded by ggml itself, called by ctypes in .venv's xllamacpp (2026.10.11549); where gguf-py
(0.19.0) knows the type, it has to agree. For each type T: "T.blocks" (of values: random, tiny, huge, zero,
one sign only, ties), "T.values" = these decoded, and "T.noise", "T.noise.values": random bytes as blocks.
"""
import ctypes
import json
import pathlib
import struct

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

ROOT = pathlib.Path(__file__).resolve().parents[3]
GGML = ctypes.CDLL(str(next(ROOT.glob(".venv/lib/python3*/site-packages/xllamacpp/*.so"))))

#       block, bytes, where its fp16 values are
TYPES = {"q4_0": (32, 18, [0]), "q4_1": (32, 20, [0, 2]), "q5_0": (32, 22, [0]), "q8_0": (32, 34, [0]),
         "q1_0": (128, 18, [0]), "q2_0": (64, 18, [0]), "tq1_0": (256, 54, [52]),
         "tq2_0": (256, 66, [64]), "mxfp4": (32, 17, []), "nvfp4": (64, 36, [])}


def call(function, source, size, n):
    out = np.zeros(size, np.uint8)
    f = getattr(GGML, function)
    f.restype, f.argtypes = None, [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    f(source.ctypes.data, out.ctypes.data, n)
    return out


def decode(name, blocks, n):
    values = call("dequantize_row_" + name, blocks, 4 * n, n).view(np.float32)
    try:
        theirs = dequantize(blocks.reshape(1, -1), GGMLQuantizationType[name.upper()])
    except (KeyError, NotImplementedError):
        return values
    assert np.array_equal(theirs.reshape(-1), values), name
    return values


rng = np.random.default_rng(20260101)
x = rng.normal(size=(6, 256)).astype(np.float32)
x[1] *= 1e-6  # scales that are subnormal in fp16
x[2] *= 1e4
x[3, :128] = 0
x[3, 128:] = np.round(x[3, 128:] * 3)  # ties
x[4] = np.abs(x[4])
x[5] = -np.abs(x[5])

out = {}
for name, (block, size, halves) in TYPES.items():
    n = x.size
    blocks = call(f"quantize_row_{name}_ref", x, n // block * size, n)
    noise = rng.integers(0, 256, n // block * size, dtype=np.uint8)
    for at in halves:  # finite
        noise.reshape(-1, size)[:, at:at + 2] = rng.normal(size=n // block).astype(
            np.float16).view(np.uint8).reshape(-1, 2)
    T = name.upper()
    out[T + ".blocks"] = ("U8", blocks)
    out[T + ".values"] = ("F32", decode(name, blocks, n))
    out[T + ".noise"] = ("U8", noise)
    out[T + ".noise.values"] = ("F32", decode(name, noise, n))
for T, a in (("F16", x.astype(np.float16)), ("BF16", (x.view(np.uint32) >> 16).astype(np.uint16))):
    out[T + ".blocks"] = ("U8", a.view(np.uint8).reshape(-1))
    out[T + ".values"] = ("F32", dequantize(a.view(np.uint8), GGMLQuantizationType[T]).reshape(-1))

header, offset = {}, 0
for name, (dtype, a) in out.items():
    header[name] = {"dtype": dtype, "shape": a.shape, "data_offsets": [offset, offset + a.nbytes]}
    offset += a.nbytes
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open(pathlib.Path(__file__).with_name("gguf_blocks.safetensors"), "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    for _, a in out.values():
        f.write(np.ascontiguousarray(a).tobytes())
