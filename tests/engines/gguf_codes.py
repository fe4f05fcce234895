"""GGUF files as ggml (inside xllamacpp) and gguf-py read them.

    gguf_codes.py TWIN_FOLDER        model.gguf equals hf/, its dense twin, bit for bit
"""
import ctypes
import json
import pathlib
import sys

import numpy as np
from engine_setup import VENVS
from run_codes import Weight, as_llama_cpp, same_bits, times
from safetensors_file import read_safetensors

# Where a block has its scale, and that scale's bytes that mean 1. Q4_1's minimum is a multiple of its scale.
F16_ONE = np.float16(1).tobytes()
ONE = {"q4_0": (0, F16_ONE), "q4_1": (0, F16_ONE), "q5_0": (0, F16_ONE), "q8_0": (0, F16_ONE), "q1_0": (0, F16_ONE),
       "q2_0": (0, F16_ONE), "tq1_0": (52, F16_ONE), "tq2_0": (64, F16_ONE), "mxfp4": (0, bytes([127])),
       "nvfp4": (0, bytes([0x38] * 4))}


LACKS = (NotImplementedError, ValueError)


class Ggml:
    """llama.cpp's own library."""
    def __init__(self):
        self.library = ctypes.CDLL(str(next(VENVS.glob(".venv/lib/python3*/site-packages/xllamacpp/*.so"))))

    def call(self, name, result, *arguments):
        function = getattr(self.library, name)
        function.restype = result
        return function(*arguments)

    def tensors(self, path):
        """name -> type, bytes"""
        class Parameters(ctypes.Structure):
            _fields_ = [("no_alloc", ctypes.c_bool), ("context", ctypes.c_void_p)]

        file = ctypes.c_void_p(self.call("gguf_init_from_file", ctypes.c_void_p, str(path).encode(),
                                         Parameters(True, None)))
        data = np.memmap(path, np.uint8)[self.call("gguf_get_data_offset", ctypes.c_size_t, file):]
        found = {}
        for i in map(ctypes.c_int64, range(self.call("gguf_get_n_tensors", ctypes.c_int64, file))):
            begin = self.call("gguf_get_tensor_offset", ctypes.c_size_t, file, i)
            size = self.call("gguf_get_tensor_size", ctypes.c_size_t, file, i)
            kind = self.call("gguf_get_tensor_type", ctypes.c_int, file, i)
            name = self.call("gguf_get_tensor_name", ctypes.c_char_p, file, i).decode()
            found[name] = kind, np.ascontiguousarray(data[begin:begin + size])
        return found

    def name(self, kind):
        return self.call("ggml_type_name", ctypes.c_char_p, kind).decode()

    def block(self, kind):
        """Bytes and elements."""
        return self.call("ggml_type_size", ctypes.c_size_t, kind), self.call("ggml_blck_size", ctypes.c_int64, kind)

    def decode(self, kind, raw):
        name = self.name(kind)
        if name in ("f32", "f16"):
            return raw.view(np.dtype(name.replace("f", "float"))).astype(np.float32)
        if name == "bf16":
            return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        size, elements = self.block(kind)
        decoded = np.empty(raw.size // size * elements, np.float32)
        self.call("dequantize_row_" + name, None, ctypes.c_void_p(raw.ctypes.data),
                  ctypes.c_void_p(decoded.ctypes.data), ctypes.c_int64(decoded.size))
        return decoded


class GgufPy:
    """gguf-py; NotImplementedError or ValueError where it lacks a type."""
    def tensors(self, path):
        from gguf import GGUFReader
        return {t.name: (int(t.tensor_type), np.ascontiguousarray(t.data).view(np.uint8).reshape(-1))
                for t in GGUFReader(path).tensors}

    def name(self, kind):
        from gguf.constants import GGMLQuantizationType
        return GGMLQuantizationType(kind).name.lower()

    def block(self, kind):
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
        elements, size = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        return size, elements

    def decode(self, kind, raw):
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize
        size, _ = self.block(kind)
        rows = raw if size <= 4 else raw.reshape(-1, size)
        return dequantize(rows, GGMLQuantizationType(kind)).astype(np.float32).reshape(-1)


def stored_scales(kind, blocks):
    """The bytes of the blocks' scales as numbers."""
    if kind == "mxfp4":
        return np.ldexp(np.float32(1), blocks[:, :1].astype(np.int32) - 127)
    if kind == "nvfp4":
        exponent, mantissa = blocks[:, :4].astype(np.int32) >> 3, blocks[:, :4].astype(np.float32) % 8
        return np.where(exponent == 0, mantissa * 2**-9, np.ldexp(8 + mantissa, exponent - 10)).astype(np.float32)
    at = ONE[kind][0]
    return blocks[:, at:at + 2].copy().view(np.float16).astype(np.float32)


def read_weight(library, kind, raw, shape):
    """Codes are what the library makes of blocks whose scale is 1."""
    values = library.decode(kind, raw).reshape(shape)
    name = library.name(kind)
    if name not in ONE:
        return Weight(values)
    size, _ = library.block(kind)
    blocks = raw.reshape(-1, size)
    scales = stored_scales(name, blocks).reshape(shape[0], -1)
    ones = blocks.copy()
    at, one = ONE[name]
    ones[:, at:at + len(one)] = np.frombuffer(one, np.uint8)
    if name == "q4_1":
        d, m = (blocks[:, i:i + 2].copy().view(np.float16).astype(np.float32) for i in (0, 2))
        ones[:, 2:4] = (m / d).astype(np.float16).view(np.uint8)
    codes = library.decode(kind, ones.reshape(-1)).reshape(shape)
    assert same_bits(times(codes, scales), values), "a scale lies elsewhere than thought"
    return Weight(values, codes, scales)


def read_gguf(library, path, shapes):
    """shapes: Hugging Face's names and shapes. Rows of q and k stay where the file has them."""
    from gguf.constants import MODEL_ARCH
    from gguf.tensor_mapping import get_tensor_name_map
    names = get_tensor_name_map(MODEL_ARCH.LLAMA, 2)
    stored = library.tensors(path)
    weights = {}
    for name, shape in shapes.items():
        tensor = names.get_name(name, try_suffixes=(".weight",))
        weight = read_weight(library, *stored.pop(tensor), (1, *shape)[-2:])
        whole = stored.pop(tensor.replace(".weight", ".scale"), None)  # of an NVFP4 tensor
        if whole is not None:
            factor = library.decode(*whole)[0]
            weight = Weight(weight.values * factor, weight.codes, weight.scales * factor)
        weights[name] = weight
    assert not stored, f"unknown tensors: {list(stored)}"
    return weights


def libraries():
    return {"ggml": Ggml(), "gguf-py": GgufPy()}


def main(folder):
    """A random model against its dense twin."""
    hf = read_safetensors(folder / "hf/model.safetensors")
    assert json.loads((folder / "hf/config.json").read_text())["num_attention_heads"] == 4
    ours = as_llama_cpp({name: Weight(values) for name, values in hf.items()})
    for title, library in libraries().items():
        try:
            theirs = read_gguf(library, folder / "model.gguf", {n: v.shape for n, v in hf.items()})
        except LACKS as error:
            print(title, "lacks", error)
            continue
        for name, weight in ours.items():
            assert same_bits(weight.values, theirs[name].values), (title, name)
        print(f"{title}: {len(hf)} tensors equal")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
