"""What `terse train` starts from and reads, for peers that shall train the same: initial weights, batches,
validation windows, learning rate. Written from the headers that define them (trainer/model/initialize.h,
trainer/data/{shard,text_windows,batcher}.h, optim/schedule.h), none of it by running terse. XXH3 comes from
Debian's libxxhash. scripts/time-to-loss compares the loss of the first step, which holds all of it together.
"""
import ctypes
import math
import pathlib

import numpy as np
import torch

from torch_llama import terse_name

BEGIN = 1  # id of the begin token
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15
FACTORS = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def mixed(x):
    """splitmix64 of Python's integers; of arrays of uint64, which wrap around by themselves."""
    if isinstance(x, np.ndarray):
        x = x + np.uint64(GOLDEN)
        for shift, factor in zip((30, 27), FACTORS):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        return x ^ (x >> np.uint64(31))
    x = (x + GOLDEN) & MASK
    for shift, factor in zip((30, 27), FACTORS):
        x = ((x ^ (x >> shift)) * factor) & MASK
    return x ^ (x >> 31)


def xxh3(text, seed):
    library = ctypes.CDLL("libxxhash.so.0")
    hash_of = library.XXH3_64bits_withSeed
    hash_of.restype = ctypes.c_uint64
    hash_of.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return hash_of(text.encode(), len(text), seed)


def normal_weights(name, shape, deviation, seed):
    """trainer/model/initialize.h: a pair of numbers, by Box and Muller, from each two of a stream."""
    count = math.prod(shape)
    index = np.arange((count + 1) // 2 * 2, dtype=np.uint64)
    bits = mixed(np.uint64(xxh3(name, seed)) + index * np.uint64(GOLDEN))
    uniform = ((bits >> np.uint64(11)) + np.uint64(1)).astype(np.float64) * 2.0**-53
    radius = deviation * np.sqrt(-2 * np.log(uniform[0::2]))
    angle = 2 * np.pi * uniform[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return torch.from_numpy(pairs.reshape(-1)[:count].astype(np.float32).reshape(shape))


@torch.no_grad()
def initialize(llama, seed):
    """A torch_llama.Llama: terse draws q, k, v, and gate, up, as one matrix each."""
    wholes = {}
    for name, p in llama.named_parameters():
        if p.dim() == 2:
            wholes.setdefault(terse_name(name), []).append(p)
    for name, parts in wholes.items():
        residual = name.endswith(("o_proj.weight", "down_proj.weight"))
        deviation = 0.02 / math.sqrt(2 * len(llama.layers)) if residual else 0.02
        rows = [p.shape[0] for p in parts]
        whole = normal_weights(name, (sum(rows), parts[0].shape[1]), deviation, seed)
        for p, values in zip(parts, whole.split(rows)):
            p.copy_(values)


def shard(path):
    """The token ids of train.bin or valid.bin."""
    head = pathlib.Path(path).open("rb").read(64)
    if head[:8] != b"TERSETOK":
        raise SystemExit(f"{path} is no token shard; `terse prepare` writes them")
    width = int.from_bytes(head[12:16], "little")
    return np.memmap(path, {2: np.uint16, 4: np.uint32}[width], "r", offset=64)


def row(tokens, at, context):
    return np.concatenate(([BEGIN], tokens[at:at + context].astype(np.int64)))


def permuted(i, n, seed):
    """A permutation of [0, n): four rounds of Feistel's network on the next power of four."""
    bits = max(1, ((n - 1).bit_length() + 1) // 2)
    mask, x = (1 << bits) - 1, i
    while True:
        left, right = x >> bits, x & mask
        for turn in range(4):
            left, right = right, left ^ (mixed(seed ^ mixed(right + (turn << 56))) & mask)
        x = left << bits | right
        if x < n:
            return x


def epoch_seed(seed, epoch):
    return mixed((mixed(seed & MASK) + epoch) & MASK)


def batches(tokens, context, rows, seed, rank, ranks):
    """This rank's shares [rows, context + 1] of the global batches, without end."""
    windows = max(1, len(tokens) // context - 1)
    shifts = min(context, len(tokens) - windows * context + 1)
    at = rank * rows
    while True:
        batch = []
        for counted in range(at, at + rows):
            epoch, i = divmod(counted, windows)
            index = permuted(i, windows, epoch_seed(seed, epoch))
            shift = epoch_seed(~seed, epoch) % shifts
            batch.append(row(tokens, shift + index * context, context))
        yield torch.from_numpy(np.stack(batch))
        at += rows * ranks


def validation_windows(tokens, context):
    return torch.from_numpy(np.stack([row(tokens, at, context)
                                      for at in range(0, len(tokens) - context + 1, context)]))


def learning_rate(peak, warmup, least, step, steps):
    """[optim] schedule = "cosine", of step 1, 2, ...; least: min_lr."""
    if step < warmup:
        return peak * step / warmup
    if steps <= warmup:
        return peak
    part = (step - warmup) / (steps - warmup)
    return peak * (least + (1 - least) / 2 * (1 + math.cos(math.pi * part)))
