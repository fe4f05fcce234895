"""What tests/engines/matrix_test.py trains: every [qat] target, and what target = "none" and masks add."""
import dataclasses


@dataclasses.dataclass
class Case:
    qat: str  # lines of [qat], and tables behind it
    representation: str  # as `terse export --list` names it
    compute: str = "bf16"
    steps: int = 60
    requantize: str = ""  # a format that holds the model after --requantize only


GRIDS = ("gguf:q4_0", "gguf:q4_1", "gguf:q8_0", "gguf:q2_0", "gguf:tq2_0", "gguf:q1_0", "gguf:mxfp4", "gguf:nvfp4",
         "compressed-tensors:w4a16", "compressed-tensors:w8a8", "compressed-tensors:w4a4",
         "compressed-tensors:w4a4-hadamard", "compressed-tensors:nvfp4", "compressed-tensors:nvfp4a16",
         "compressed-tensors:mxfp4", "compressed-tensors:mxfp4a16", "onnx:int4", "onnx:int8")
MASK = '\n[sparsity]\npattern = "2:4"'

# name -> Case. The name begins with the target's, ":" and "-" as "_".
CASES = {target.replace(":", "_").replace("-", "_"): Case(f'target = "{target}"', f"target {target}")
         for target in GRIDS} | {
    # Inputs as the recipe says: of a token's scale, and of a learned one.
    "onnx_int4_a8": Case('target = "onnx:int4"\nact_bits = 8', "target onnx:int4"),
    "onnx_int8_static": Case('target = "onnx:int8"\nact_bits = 8\nestimator = "lsq"', "target onnx:int8"),
    "gguf_f32": Case('target = "gguf:f32"', "dense fp32", compute="fp32"),
    "gguf_bf16": Case('target = "gguf:bf16"', "dense bf16"),
    # Nothing is trained in fp16: the run is dense fp32, and gguf:f16 rounds it once.
    "gguf_f16": Case('target = "gguf:f16"', "dense fp32", compute="fp32", requantize="gguf:f16"),
    "none": Case('target = "none"\nhadamard = 0', 'any grid, fp32 scales (target = "none")'),
    "none_hadamard": Case('target = "none"', "any grid, rotated (hadamard = 128)"),
    "gguf_q4_0_masked": Case('target = "gguf:q4_0"' + MASK, "target gguf:q4_0, 2:4 mask"),
    "gguf_bf16_masked": Case('target = "gguf:bf16"' + MASK, "dense bf16"),
}

# Representations that no recipe leads to: fp16 scales are a target's, with its own groups. Files have them.
UNTRAINED = (
    "int_signed 4 bits, 128 columns a scale, fp16",
    "int_signed 2 bits, 64 columns a scale, fp16",
    "half_int 4 bits, 128 columns a scale, fp16",
    "half_int 4 bits, 128 columns, fp16, 2:4 mask",
    "half_int 3 bits, 128 columns a scale, fp16",
    "half_int 1 bit, 128 columns a scale, fp16",
)
