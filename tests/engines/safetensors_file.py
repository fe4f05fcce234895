"""safetensors from the format's description, with numpy alone."""
import json
import struct

import numpy as np

TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}


def read_safetensors(path):
    """name -> array; 16-bit types widened to float32."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, t in json.loads(data[8:8 + length]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + length + o for o in t["data_offsets"])
        raw = data[begin:end]
        if t["dtype"] == "BF16":
            a = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            a = np.frombuffer(raw, TYPES[t["dtype"]])
            a = a.astype(np.float32) if t["dtype"] == "F16" else a
        tensors[name] = a.reshape(t["shape"])
    return tensors
