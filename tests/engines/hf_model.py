"""Hugging Face folders, dense or compressed-tensors, in transformers and compressed-tensors. For .venv-engines."""
import json
import math

import torch
from compressed_tensors.compressors.base import decompress_module
from compressed_tensors.compressors.mx_utils import decompress_mx_scale
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from compressed_tensors.transform import TransformConfig, apply_transform_config
from run_codes import Weight
from transformers import AutoModelForCausalLM


def decompress(model):
    """What the first forward would do; fp4 is unpacked into bf16, which holds it exactly."""
    for module in model.modules():
        decompress_module(module)
    if hasattr(model, "ct_decompress_hook"):
        model.ct_decompress_hook.remove()
    return model.to(torch.float32).eval()


def load(folder):
    """The model as the documentation of compressed-tensors says, rotations included, in fp32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = json.loads((folder / "config.json").read_text()).get("quantization_config", {})
    if "transform_config" in config:
        apply_transform_config(model, TransformConfig(**config["transform_config"]))
    return decompress(model)


def codes_of(module):
    """Codes and scales of a layer that is still packed; nothing of a dense one."""
    scheme = getattr(module, "quantization_scheme", None)
    if scheme is None:
        return None
    scale = module.weight_scale.detach()
    if not hasattr(module, "weight_packed"):
        return module.weight.detach(), scale.float()  # int-quantized
    packed = module.weight_packed.detach()
    if packed.dtype != torch.uint8:
        shape = torch.Size(module.weight_shape.tolist())
        return unpack_from_int32(packed, scheme.weights.num_bits, shape), scale.float()
    codes = unpack_fp4_from_uint8(packed, packed.shape[0], 2 * packed.shape[1])
    if hasattr(module, "weight_global_scale"):
        return codes, scale.float() / module.weight_global_scale.detach().float()
    return codes, decompress_mx_scale(scale).float()


def read_hf(folder):
    """name -> Weight. Weights before rotated inputs are as stored, rotated."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    codes = {name + ".weight": codes_of(module) for name, module in model.named_modules()}
    weights = {}
    for name, values in decompress(model).named_parameters():
        if name.endswith(".weight"):
            weights[name] = Weight(values.detach().float().numpy())
            if codes[name] is not None:
                weights[name].codes, weights[name].scales = (t.float().numpy() for t in codes[name])
    return weights


def mean_nll(model, batches):
    nll, tokens = 0.0, 0
    with torch.no_grad():
        for batch in batches:
            ids = torch.tensor(batch)
            logp = torch.log_softmax(model(ids[:, :-1]).logits.double(), -1)
            nll -= logp.gather(-1, ids[:, 1:, None]).sum().item()
            tokens += ids[:, 1:].numel()
    return nll / tokens, tokens


def perplexity(model, windows):
    nll, tokens = mean_nll(model, [windows[i:i + 8] for i in range(0, len(windows), 8)])
    return math.exp(nll), tokens
