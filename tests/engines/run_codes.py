"""A run's weights from its checkpoint, by numpy and docs/formats.md alone, and what engines read held against them.

Codes stand for `(code + offset) unit`: what a weight is at the scale 1. Readers of files give the same.
"""
import dataclasses
import json

import numpy as np
from safetensors_file import read_safetensors

HEADS, KV_HEADS = 4, 2  # of engine_setup.RECIPE
PACKED = {"qkv_proj": (("q_proj", HEADS), ("k_proj", KV_HEADS), ("v_proj", KV_HEADS)),
          "gate_up_proj": (("gate_proj", 1), ("up_proj", 1))}
EXACT, SAME_VALUES = "exact", "exact-after"  # verdicts of `terse export --list`


@dataclasses.dataclass
class Weight:
    """Of a file or a run. `codes` [rows, columns] and `scales` [rows, any divisor of columns] where it has them."""
    values: np.ndarray
    codes: np.ndarray | None = None
    scales: np.ndarray | None = None

    def map(self, change):
        return Weight(*(None if a is None else change(a) for a in (self.values, self.codes, self.scales)))


def times(codes, scales):
    """A scale for each so many columns; products in fp32."""
    columns = codes.shape[1] // scales.shape[1]
    return codes.astype(np.float32) * np.repeat(scales, columns, 1)


def coded(tensors, checkpoint, name):
    # "int_signed b4 g32 f16 h0 [-8,7] +0 x0.5 2:4"; the unit and the mask's pattern only where there is one.
    fields = checkpoint["texts"]["format/" + name].split()
    unit = next((float(f[1:]) for f in fields if f[0] == "x"), 1.0)
    codes = (tensors["codes/" + name] + np.float32(fields[6])) * np.float32(unit)
    if "mask/" + name in tensors:
        kept = np.unpackbits(tensors["mask/" + name], axis=1, bitorder="little")[:, :codes.shape[1]]
        codes = np.where(kept == 1, codes, np.float32(0))
    tensor_scale = checkpoint["numbers"].get("tensor_scale/" + name, "0x1p+0")
    scales = tensors["scales/" + name] * np.float32(float.fromhex(tensor_scale))
    scales = np.broadcast_to(scales, (len(codes), scales.shape[1]))  # one of all rows
    return Weight(times(codes, scales), codes, scales)


def to_bf16(values):
    """To the nearest, ties to even."""
    bits = values.view(np.uint32).astype(np.uint64)
    return (((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32)).view(np.float32)


def parts(name, weight):
    """Hugging Face's names of what one product holds."""
    for packed, shares in PACKED.items():
        if packed not in name:
            continue
        unit, at = len(weight.values) // sum(n for _, n in shares), 0
        for part, n in shares:
            rows = slice(at, at + n * unit)
            yield name.replace(packed, part), weight.map(lambda a, rows=rows: a[rows])
            at += n * unit
        return
    yield name, weight


def run_weights(run, compute="bf16"):
    """name -> Weight, of the newest checkpoint. Matrices without codes are computed, and served, as `compute`."""
    folder = max((run / "checkpoints").iterdir())
    text = (folder / "manifest.json").read_text()
    checkpoint = json.loads(text[:text.rindex("checksum ")])
    tensors = read_safetensors(folder / "shared.safetensors")
    weights = {}
    for key, values in tensors.items():
        name = key.removeprefix("model/")
        if name == key or not name.endswith(".weight"):
            continue
        if "codes/" + name in tensors:
            weight = coded(tensors, checkpoint, name)
        else:
            weight = Weight(to_bf16(values) if values.ndim == 2 and compute == "bf16" else values)
            if "mask/" + name in tensors:
                kept = np.unpackbits(tensors["mask/" + name], axis=1, bitorder="little")
                weight.values = np.where(kept[:, :values.shape[1]] == 1, weight.values, np.float32(0))
        weights.update(parts(name, weight))
    return weights


def as_llama_cpp(weights):
    """Rows of q and k where llama.cpp's converter puts them (LlamaModel.permute)."""
    def moved(name, weight):
        heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(name.split(".")[-2])
        if heads is None:
            return weight
        return weight.map(lambda a: a.reshape(heads, 2, len(a) // heads // 2, -1).swapaxes(1, 2).reshape(a.shape))
    return {name: moved(name, weight) for name, weight in weights.items()}


def same_bits(ours, theirs):
    # + 0.0: a zero's sign is the scale's.
    ours, theirs = (np.ascontiguousarray(a, np.float32) + np.float32(0) for a in (ours, theirs))
    return ours.size == theirs.size and np.array_equal(ours.view(np.uint32).reshape(-1),
                                                       theirs.view(np.uint32).reshape(-1))


def held_against(ours, theirs, verdict):
    """Every weight of the run, as a library reads the file: values, and where the matrix says exact, codes and
    scales. Answers how many have codes."""
    assert set(ours) == set(theirs), set(ours) ^ set(theirs)
    counted = 0
    for name, weight in ours.items():
        read = theirs[name]
        assert same_bits(weight.values, read.values), f"{name}: values differ"
        if weight.codes is None or verdict != EXACT:
            continue
        assert read.codes is not None, f"{name}: stored without codes"
        assert same_bits(weight.codes, read.codes), f"{name}: codes differ"
        times_each = read.scales.shape[1] // weight.scales.shape[1]
        assert same_bits(np.repeat(weight.scales, times_each, 1), read.scales), f"{name}: scales differ"
        counted += 1
    return counted
