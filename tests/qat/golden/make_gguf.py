"""Writes gguf_blocks.bin: values, and what gguf-py 0.19 makes of them as Q4_0 and Q8_0.

Layout, little endian: u32 blocks; blocks x 32 fp32 values; blocks x 18 bytes Q4_0; blocks x 34
bytes Q8_0. Run with a Python that has gguf==0.19.0: python make_gguf.py
"""
import pathlib

import gguf
import numpy as np

random = np.random.default_rng(11)
blocks = [random.standard_normal((64, 32)), 0.02 * random.standard_normal((64, 32)),
          random.standard_t(2, (32, 32)), 1e-3 * random.integers(-8, 9, (32, 32)),
          random.integers(-127, 128, (16, 32)) / 127.0]
special = np.zeros((12, 32))
special[1] = 0.25
special[2, 5] = -3.0
special[3, 5] = 3.0
special[4, 3], special[4, 9] = 2.0, -2.0  # a tie in magnitude: the first decides the sign
special[5, 3], special[5, 9] = -2.0, 2.0
special[6] = np.arange(32) - 15.5
special[7] = 1e-7 * random.standard_normal(32)  # scale is subnormal in fp16
special[8] = -0.0
special[9] = 30000.0 * random.standard_normal(32)
special[10] = np.arange(32) - 15.5  # exact ties: with these largest values the scale is 1
special[10, 0], special[11, 0] = 127.0, -8.0
special[11, 1:] = (np.arange(31) - 15) / 2.0
values = np.concatenate([*blocks, special]).astype(np.float32)
q4 = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q4_0)
q8 = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
out = np.uint32(len(values)).tobytes() + values.tobytes() + q4.tobytes() + q8.tobytes()
pathlib.Path(__file__).with_name("gguf_blocks.bin").write_bytes(out)
