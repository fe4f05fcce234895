#include "trainer/model/ops/swiglu.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include "base/product/product.h"
#include "trainer/model/ops/kernels.h"
#include "trainer/model/ops/swiglu_bf16.h"
#include "trainer/model/ops/typed.h"

namespace terse {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool in_bf16(const at::Tensor& gate_up) {
  return gate_up.scalar_type() == at::kBFloat16 && gate_up.size(-1) % 64 == 0 &&
         product_available();
}

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& gate_up) {
    const int64_t hidden = gate_up.size(-1) / 2, rows = gate_up.numel() / (2 * hidden);
    auto shape = gate_up.sizes().vec();
    shape.back() = hidden;
    const at::Tensor y = at::empty(shape, gate_up.options());
    ctx->save_for_backward({gate_up});
    if (in_bf16(gate_up)) {
      at::parallel_for(0, rows, row_grain(hidden), [&](int64_t begin, int64_t end) {
        swiglu_forward_bf16(elements<uint16_t>(gate_up) + begin * 2 * hidden,
                            elements<uint16_t>(y) + begin * hidden, end - begin, hidden);
      });
      return y;
    }
    for_compute_type(gate_up.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      at::parallel_for(0, rows, row_grain(hidden), [&](int64_t begin, int64_t end) {
        TERSE_DISPATCH(swiglu_forward(elements<T>(gate_up) + begin * 2 * hidden,
                                      elements<T>(y) + begin * hidden, end - begin, hidden));
      });
    });
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list gradients) {
    const at::Tensor gate_up = ctx->get_saved_variables()[0], dy = gradients[0].contiguous();
    const int64_t hidden = gate_up.size(-1) / 2, rows = gate_up.numel() / (2 * hidden);
    const at::Tensor d = at::empty_like(gate_up);
    if (in_bf16(gate_up)) {
      at::parallel_for(0, rows, row_grain(hidden), [&](int64_t begin, int64_t end) {
        const int64_t at = begin * 2 * hidden;
        swiglu_backward_bf16(elements<uint16_t>(gate_up) + at,
                             elements<uint16_t>(dy) + begin * hidden, elements<uint16_t>(d) + at,
                             end - begin, hidden);
      });
      return {d};
    }
    for_compute_type(gate_up.scalar_type(), [&](auto tag) {
      using T = decltype(tag);
      at::parallel_for(0, rows, row_grain(hidden), [&](int64_t begin, int64_t end) {
        const int64_t at = begin * 2 * hidden;
        TERSE_DISPATCH(swiglu_backward(elements<T>(gate_up) + at, elements<T>(dy) + begin * hidden,
                                       elements<T>(d) + at, end - begin, hidden));
      });
    });
    return {d};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_up) {
  if (!gate_up.is_cpu()) return composed_swiglu(gate_up);
  return SwiGlu::apply(gate_up.contiguous());
}

at::Tensor composed_swiglu(const at::Tensor& gate_up) {
  const auto halves = gate_up.to(at::kFloat).chunk(2, -1);
  return (at::silu(halves[0]) * halves[1]).to(gate_up.scalar_type());
}

}  // namespace terse
