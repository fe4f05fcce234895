// A Llama decoder: RMSNorm, rotary embedding, grouped-query attention, SwiGLU; fp32 master weights,
// bf16 or fp32 compute. Hugging Face's layout and arithmetic (rotary in half-split order), so that
// transformers and llama.cpp compute the same logits from the exported weights.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "qat/options.h"
#include "trainer/model/model.h"
#include "trainer/model/options.h"

namespace terse {

class Llama final : public Model {
 public:
  // Weights drawn N(0, 0.02), projections into the residual stream N(0, 0.02 / sqrt(2 layers)),
  // from `seed` alone: the same on every rank, device and thread count.
  Llama(const LlamaOptions& options, const QatOptions& qat, const ComputeOptions& compute,
        uint64_t seed, const SparsityRun& sparsity = {});
  ~Llama() override;

  const LlamaOptions& options() const;
  // Packed where the forward is: "model.layers.N.self_attn.qkv_proj.weight" [(heads + 2 kv) head,
  // width] (rows q, k, v) and "model.layers.N.mlp.gate_up_proj.weight" [2 hidden, width] (rows
  // gate, up); otherwise Hugging Face's names.
  std::vector<Parameter> parameters() override;
  // lm_head included (unless tied).
  std::vector<QuantizedLinear*> linears() override;
  at::Device device() const override;
  bool classifies() const override { return false; }

  // A batch is [rows, length + 1] tokens: each position predicts the next.
  Outputs run(const at::Tensor& tokens, bool hidden = false) override;
  at::Tensor targets(const at::Tensor& tokens) const override;
  void refresh(int64_t taken = kServed) override;

  // fp32 logits [rows, length, vocab] of tokens [rows, length], without gradient.
  at::Tensor logits(const at::Tensor& tokens);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace terse
