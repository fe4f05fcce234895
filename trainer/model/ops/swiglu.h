// SwiGLU on packed projections (Shazeer 2020, arXiv 2002.05202): y = silu(gate) * up.
#pragma once
#include <ATen/core/Tensor.h>

namespace terse {

// gate_up: [..., 2 hidden] in fp32 or bf16, a row being gate, up; returns [..., hidden]. Computes
// in fp32, rounds once; backward computes the sigmoid again and keeps only the input.
at::Tensor swiglu(const at::Tensor& gate_up);

// The same from ATen operations, on any device.
at::Tensor composed_swiglu(const at::Tensor& gate_up);

}  // namespace terse
