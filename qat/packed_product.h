// The three products of a linear layer in bf16 on base/product, where the processor and the shapes
// allow: y = x W^T, dx = dy W, dW = dy^T x. The weight is packed once a step instead of once a
// product, and dW is summed and added in fp32. All run on ATen's threads; results do not depend on
// their number.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>

namespace terse {

// Panels (base/product/product.h) of a [k, n] matrix: room for them; those of bf16 x; bf16 a [rows,
// k] times them.
at::Tensor empty_panels(int64_t k, int64_t n);
at::Tensor panels_of(const at::Tensor& x);
at::Tensor times_panels(const at::Tensor& a, const at::Tensor& panels, int64_t n);

class PackedWeight {
 public:
  // Whether a weight of this shape and place is packed: on a CPU with base/product's instructions,
  // bf16 compute, both sizes multiples of 64.
  static bool fits(const at::Tensor& weight, at::ScalarType compute);
  // Packs bf16 or fp32 [out, in], the latter rounded; it may change afterwards.
  void pack(const at::Tensor& weight);
  bool packed() const { return transposed_.defined(); }

  at::Tensor forward(const at::Tensor& x) const;          // [rows, in] -> [rows, out]
  at::Tensor input_gradient(const at::Tensor& dy) const;  // [rows, out] -> [rows, in]
  at::Tensor values() const;                              // bf16 [out, in], what is multiplied

 private:
  int64_t out_ = 0, in_ = 0;
  at::Tensor transposed_, straight_;  // panels
};

// Whether dW = dy^T x runs here, for dy and an x of `columns` on the same device in the same type.
bool can_pack(const at::Tensor& dy, int64_t columns);
// gradient (fp32 [out, in], contiguous) (+)= dy^T x, of bf16 dy [rows, out], for which can_pack()
// holds, and the panels of x.
void packed_weight_gradient(const at::Tensor& dy, const at::Tensor& x_panels, bool add,
                            const at::Tensor& gradient);

}  // namespace terse
