"""Makes ct_packs.safetensors: what compressed-tensors 0.20.0 itself packs, and decodes it to.

    .venv-engines/bin/python tests/export/golden/make_ct_packs.py
"""
import pathlib

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized import pack_to_int32, unpack_from_int32
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from safetensors.torch import save_file

torch.manual_seed(20261122)
out = {}


def scheme(**weights):
    return QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**weights))


def decoded(name, kind, state):
    compressor = BaseCompressor.get_value_from_registry(name)
    return compressor.decompress(dict(state), kind)["weight"].to(torch.float32)


# Every width, columns that fill words and columns that do not.
for bits in range(1, 9):
    for columns in (96, 77):
        codes = torch.randint(-2 ** (bits - 1), 2 ** (bits - 1), (5, columns), dtype=torch.int8)
        packed = pack_to_int32(codes, bits)
        assert torch.equal(unpack_from_int32(packed, bits, codes.shape), codes)
        out[f"int{bits}_{columns}.codes"], out[f"int{bits}_{columns}.packed"] = codes, packed

# A whole module: 4 bits, groups of 32.
codes = torch.randint(-8, 8, (4, 96), dtype=torch.int8)
scale = (torch.rand(4, 3) * 0.01 + 0.001).half().float()
state = {"weight_packed": pack_to_int32(codes, 4), "weight_scale": scale,
         "weight_shape": torch.tensor([4, 96])}
kind = scheme(num_bits=4, type="int", strategy="group", group_size=32)
out |= {"w4.codes": codes, "w4.scales": scale, "w4.packed": state["weight_packed"],
        "w4.values": decoded("pack-quantized", kind, state)}

# fp4: codes are the doubled values; the weight that the compressor sees is exactly on the grid.
sizes = torch.tensor([0, 1, 2, 3, 4, 6, 8, 12], dtype=torch.int8)
codes = sizes[torch.randint(0, 8, (4, 64))] * torch.where(torch.rand(4, 64) < 0.5, -1, 1).to(torch.int8)
for name, group, kind in (
        ("nvfp4", 16, scheme(num_bits=4, type="float", strategy="tensor_group", group_size=16)),
        ("mxfp4", 32, scheme(num_bits=4, type="float", strategy="group", group_size=32,
                             scale_dtype="torch.uint8"))):
    if name == "nvfp4":
        scale = (torch.rand(4, 64 // group) * 400 + 1).to(torch.float8_e4m3fn).float()
        scale[0, 0], scale[0, 1] = 2.0 ** -9, 448.0  # subnormal, largest
        extra = {"weight_global_scale": torch.tensor([2.0 ** 9])}
    else:
        scale = 2.0 ** torch.randint(-20, 5, (4, 64 // group)).float()
        extra = {}
    second = extra.get("weight_global_scale", torch.ones(1))
    weight = codes.float() / 2 * (scale / second).repeat_interleave(group, 1)
    compressor = BaseCompressor.get_value_from_registry(f"{name}-pack-quantized")
    state = compressor.compress({"weight": weight, "weight_scale": scale, **extra}, kind)
    values = decoded(f"{name}-pack-quantized", kind, state)
    assert torch.equal(values, weight)
    out |= {f"{name}.codes": codes, f"{name}.scales": scale, f"{name}.packed": state["weight_packed"],
            f"{name}.scale_bytes": state["weight_scale"].view(torch.uint8), f"{name}.values": values}

save_file({k: v.clone() for k, v in out.items()},
          pathlib.Path(__file__).with_name("ct_packs.safetensors"))
