"""What other programs' quantizers make of the same tensors: tests/qat/golden/quantizers.safetensors.

Optional; tests read the file, not this. Run it with a Python that has torch 2.11, numpy,
safetensors, gguf 0.19.0, compressed-tensors 0.20.0 and torchao 0.18.0 (the last two need no others of
their dependencies than pydantic, loguru and transformers), and a checkout of QuEST's source,
https://github.com/IST-DASLab/QuEST at c295afd:

    python tests/peers/quantizers.py QUEST tests/qat/golden/quantizers.safetensors

QuEST's file is run as it is but for two words: it builds its matrices on "cuda" in bfloat16, here on
the CPU in float32, by Sylvester's construction (its own comes from a CUDA extension).
"""
import pathlib
import sys
import types

import gguf
import numpy as np
import torch
from compressed_tensors.quantization import QuantizationArgs
from compressed_tensors.quantization.lifecycle.forward import quantize
from compressed_tensors.quantization.utils import calculate_qparams
from safetensors.torch import save_file
from torchao.prototype.quantized_training.bitnet import (BitNetTrainingLinearWeight,
                                                         get_bitnet_scale, quantize_bitnet_weight)
from torchao.prototype.quantized_training.int8 import quantize_int8_rowwise

ROWS, COLUMNS = 4, 256
out = {}


def tensors():
    random = np.random.default_rng(41)
    sizes = np.exp2(random.uniform(-6, 3, (ROWS, 1)))
    x = random.standard_normal((ROWS, COLUMNS)) * sizes
    x[3] = random.standard_t(3, COLUMNS)  # heavy tails
    g = random.standard_normal((ROWS, COLUMNS))
    return torch.tensor(x, dtype=torch.float32), torch.tensor(g, dtype=torch.float32)


def quest(folder):
    def hadamard_transform(eye, scale):
        h = torch.ones(1, 1)
        while h.shape[0] < eye.shape[0]:
            h = torch.cat([torch.cat([h, h], 1), torch.cat([h, -h], 1)])
        return h * scale

    stub = types.ModuleType("fast_hadamard_transform")
    stub.hadamard_transform = hadamard_transform
    sys.modules["fast_hadamard_transform"] = stub
    path = pathlib.Path(folder) / "src/models/quantization/base_linear.py"
    text = path.read_text().replace('device="cuda"', 'device="cpu"')
    module = types.ModuleType("quest_quantizers")
    exec(compile(text.replace("dtype=torch.bfloat16", "dtype=torch.float32"), path, "exec"),
         module.__dict__)
    return module


def run_quest(name, quantizer, x, g):
    leaf = x.clone().requires_grad_()
    xq = quantizer(leaf)
    xq.backward(g)
    out[f"quest.{name}.decoded"], out[f"quest.{name}.gradient"] = xq.detach(), leaf.grad


def all_quest(module, x, g):
    for bits in range(1, 9):
        run_quest(f"ste{bits}", module.STEQuantizer(bits), x, g)
        run_quest(f"trust{bits}", module.TrustQuantizer(bits), x, g)
        run_quest(f"clip{bits}", module.ClipQuantizer(bits, clip_scale=1.3), x, g)
        run_quest(f"hadamard_trust{bits}", module.HalfHadamardTrustQuantizer(bits), x, g)
    # The default threshold of its fp4 class is left over from other levels; this is what it says.
    levels = torch.tensor(module.FP4_LEVELS)
    run_quest("fp4", module.FP4TrustQuantizer(trust=(levels[-1] - levels[-2]).item() / 2), x, g)


def compressed(name, x, group, **args):
    values = x.reshape(-1, group)
    scheme = QuantizationArgs(symmetric=True, **args)
    most = values.abs().amax(1, keepdim=True)
    extra = {"global_scale": torch.tensor([0.25])} if "e4m3" in str(scheme.scale_dtype) else {}
    scale, _ = calculate_qparams(-most, most, scheme, **extra)
    shape = (ROWS, COLUMNS // group)
    # As its own forward does, one scale a column group.
    effective = scale.reshape(shape).repeat_interleave(group, 1)
    if extra:
        effective = effective.float() / extra["global_scale"]
    flat = QuantizationArgs(num_bits=scheme.num_bits, type=scheme.type, symmetric=True,
                            strategy="tensor")
    codes = quantize(x.reshape(-1, 1), effective.reshape(-1, 1), None,
                     flat.model_copy(update={"strategy": "channel"}))
    out[f"compressed.{name}.scales"] = scale.reshape(shape).float()
    out[f"compressed.{name}.codes"] = codes.reshape(ROWS, COLUMNS).float()


def gguf_blocks(name, kind, x):
    out[f"gguf.{name}"] = torch.tensor(gguf.quants.quantize(x.numpy(), kind).reshape(-1))


def bitnet(x):
    random = np.random.default_rng(42)
    w = torch.tensor(random.standard_normal((48, COLUMNS)) * 0.05, dtype=torch.float32)
    dy = torch.tensor(random.standard_normal((ROWS, 48)), dtype=torch.float32)
    scale = get_bitnet_scale(w)
    out["bitnet.w"], out["bitnet.dy"], out["bitnet.scale"] = w, dy, scale.reshape(1)
    out["bitnet.codes"] = quantize_bitnet_weight(w, scale)
    codes, scales = quantize_int8_rowwise(x, eps=1e-5)
    out["bitnet.x.codes"], out["bitnet.x.scales"] = codes, scales
    leaf, weight = x.clone().requires_grad_(), torch.nn.Parameter(BitNetTrainingLinearWeight(w))
    y = torch.nn.functional.linear(leaf, weight, torch.zeros(48))  # its backward needs a bias
    y.backward(dy)
    out["bitnet.y"], out["bitnet.dx"] = y.detach(), leaf.grad
    grad = weight.grad
    out["bitnet.dw"] = getattr(grad, "_data", grad)


def main(folder, target):
    x, g = tensors()
    out["x"], out["g"] = x, g
    all_quest(quest(folder), x, g)
    compressed("int4", x, 32, num_bits=4, type="int", strategy="group", group_size=32)
    compressed("int8", x, COLUMNS, num_bits=8, type="int", strategy="channel")
    compressed("mxfp4", x, 32, num_bits=4, type="float", strategy="group", group_size=32,
               scale_dtype=torch.uint8)
    compressed("nvfp4", x, 16, num_bits=4, type="float", strategy="tensor_group", group_size=16,
               scale_dtype=torch.float8_e4m3fn)
    gguf_blocks("mxfp4", gguf.GGMLQuantizationType.MXFP4, x)
    gguf_blocks("tq2_0", gguf.GGMLQuantizationType.TQ2_0, x)
    bitnet(x)
    save_file({k: v.contiguous() for k, v in out.items()}, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
