"""Writes fp4_inputs.safetensors: what compressed-tensors makes of inputs by its presets NVFP4 and MXFP4.

    .venv-engines/bin/python tests/qat/golden/make_fp4_inputs.py      (compressed-tensors 0.20.0, torch 2.11)

A Linear is given the preset, and its inputs go through the library's own forward_quantize, in fp32.
x [rows, 128]; decoded.KIND like x, scales.KIND [rows, blocks]: nvfp4_G for the global scale G, mxfp4.
"""
import pathlib

import torch
from compressed_tensors.quantization import preset_name_to_scheme
from compressed_tensors.quantization.lifecycle import initialize_module_for_quantization
from compressed_tensors.quantization.lifecycle.forward import forward_quantize
from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp
from safetensors.torch import save_file

COLUMNS = 128


def inputs():
    torch.manual_seed(51)
    rows = [torch.randn(COLUMNS) * 2.0 ** k for k in (-14, -9, -7, -5, -3, 0, 3, 6, 9, 12)]
    rows.append(torch.zeros(COLUMNS))
    rows.append(torch.distributions.StudentT(2.0).sample((COLUMNS,)))
    # Every tie of E2M1 under the scale 1 and a scale that is rounded, and their neighbours.
    ties = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
    near = torch.cat([ties, -ties, torch.nextafter(ties, 2 * ties), torch.nextafter(ties, -ties), torch.zeros(2)])
    blocks = torch.cat([torch.full((2, 1), 6.0), near.reshape(2, 15)], 1)
    blocks = torch.cat([blocks, -blocks])
    rows.append(torch.cat([blocks, blocks / 3]).flatten())
    # Mantissas on both sides of 1.75, where a power of two is added.
    rows.append(torch.tensor([[1.75 - 2.0 ** -23 * k] + [0.3] * 15 for k in range(-4, 4)]).flatten())
    mixed = torch.randn(8, 16) * torch.logspace(-6, 3, 8)[:, None]
    rows.append(mixed.flatten())
    return torch.stack(rows)


def module_of(preset, global_scale=None):
    linear = torch.nn.Linear(COLUMNS, 8, bias=False)
    initialize_module_for_quantization(linear, preset_name_to_scheme(preset, ["Linear"]))
    if global_scale is not None:
        linear.input_global_scale.data.fill_(global_scale)
    return linear


def main():
    x = inputs()
    out = {"x": x}
    modules = {f"nvfp4_{g}": module_of("NVFP4", g) for g in (1, 8, 1024)} | {"mxfp4": module_of("MXFP4")}
    for name, module in modules.items():
        args = module.quantization_scheme.input_activations
        out[f"decoded.{name}"] = forward_quantize(module, x.clone(), "input", args)
        out[f"scales.{name}"], _ = compute_dynamic_scales_and_zp(
            x.clone(), args, module, getattr(module, "input_global_scale", None))
    path = pathlib.Path(__file__).with_name("fp4_inputs.safetensors")
    save_file({k: v.detach().float().contiguous() for k, v in out.items()}, path)


main()
