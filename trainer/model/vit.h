// A vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929): patches, a class token, learned
// positions, pre-norm blocks with GELU, the class token's last state into a linear classifier; fp32
// master weights, bf16 or fp32 compute. timm's names and arithmetic (VisionTransformer with its
// defaults), so that timm computes the same logits from the exported weights.
//
// Pixels p of 0 .. top become 2 p / top - 1. Made of ATen operations but for linear layers and
// attention: fit for small images, of which Examples give a row at a time. ATen sums the gradients
// of norms and biases, so their bits depend on the number of threads.
#pragma once
#include <memory>

#include "qat/options.h"
#include "trainer/model/model.h"
#include "trainer/model/options.h"

namespace terse {

class Vit final : public Model {
 public:
  // Matrices and positions drawn N(0, 0.02), projections into the residual stream N(0, 0.02 /
  // sqrt(2 layers)), biases and class token 0; from `seed` alone.
  Vit(const VitOptions& options, const QatOptions& qat, const ComputeOptions& compute,
      uint64_t seed, const SparsityRun& sparsity = {});
  ~Vit() override;

  // timm's names; shapes are timm's but for cls_token [width], pos_embed [patches + 1, width] and
  // patch_embed.proj.weight [width, channels patch^2].
  std::vector<Parameter> parameters() override;
  // qkv, proj, fc1, fc2 of each block, and the head; patches are embedded by a plain one.
  std::vector<QuantizedLinear*> linears() override;
  at::Device device() const override;
  bool classifies() const override { return true; }

  // A batch is [rows, pixels + 1]: pixels (channel, row, column) and the label.
  Outputs run(const at::Tensor& images, bool hidden = false) override;
  at::Tensor targets(const at::Tensor& images) const override;
  void refresh(int64_t taken = kServed) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace terse
