// The three products of a linear layer in bf16 on base/product, where the processor and the shapes
// allow: y = x W^T, dx = dy W, dW = dy^T x. The weight is packed once a step instead of once a
// product, and dW is summed and added in fp32. All run on ATen's threads; results do not depend on
// their number.
#pragma once
#include <ATen/core/Tensor.h>

namespace terse {

class PackedWeight {
 public:
  // Packs bf16 [out, in], which may change afterwards. Does nothing, and packed() is false, unless
  // it lies on a CPU with base/product's instruction and both sizes are multiples of 64.
  void pack(const at::Tensor& weight);
  bool packed() const { return transposed_.defined(); }

  at::Tensor forward(const at::Tensor& x) const;          // [rows, in] -> [rows, out]
  at::Tensor input_gradient(const at::Tensor& dy) const;  // [rows, out] -> [rows, in]

 private:
  int64_t out_ = 0, in_ = 0;
  at::Tensor transposed_, straight_;  // panels
};

bool can_pack(const at::Tensor& dy, const at::Tensor& x);
// gradient (fp32 [out, in], contiguous) (+)= dy^T x, of bf16 [rows, out] and [rows, in] for which
// can_pack() holds.
void packed_weight_gradient(const at::Tensor& dy, const at::Tensor& x, bool add,
                            const at::Tensor& gradient);

}  // namespace terse
