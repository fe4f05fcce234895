// A Llama decoder: RMSNorm, rotary embedding, grouped-query attention, SwiGLU; fp32 master weights,
// bf16 or fp32 compute. Hugging Face's layout and arithmetic (rotary in half-split order), so that
// transformers and llama.cpp compute the same logits from the exported weights.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/keys.h"
#include "comm/parameter.h"
#include "qat/options.h"
#include "qat/quantized_linear.h"

namespace terse {

struct LlamaOptions {
  int64_t layers = 6;
  int64_t width = 256;
  int64_t heads = 4;
  int64_t kv_heads = 0;  // 0 = heads
  int64_t hidden = 768;
  int64_t context = 256;
  int64_t vocab = 0;  // 0 = the tokenizer's
  bool tie = false;   // output weights = embedding
  double rope_theta = 10000.0;
  double norm_eps = 1e-5;
  void bind(Keys& keys);
  void check(Keys& keys) const;
  int64_t head_size() const { return width / heads; }
  int64_t kv() const { return kv_heads == 0 ? heads : kv_heads; }
  int64_t parameters() const;  // exact count
};

struct ComputeOptions {
  at::ScalarType type = at::kBFloat16;
  at::Device device = at::kCPU;
  bool recompute = false;  // activation checkpointing, a layer at a time
};

class Llama {
 public:
  // Weights drawn N(0, 0.02), projections into the residual stream N(0, 0.02 / sqrt(2 layers)),
  // from `seed` alone: the same on every rank, device and thread count.
  Llama(const LlamaOptions& options, const QatOptions& qat, const ComputeOptions& compute,
        uint64_t seed, const SparsityRun& sparsity = {});
  ~Llama();

  const LlamaOptions& options() const;
  // In forward order. Packed where the forward is: "model.layers.N.self_attn.qkv_proj.weight"
  // [(heads + 2 kv) head, width] (rows q, k, v) and "model.layers.N.mlp.gate_up_proj.weight"
  // [2 hidden, width] (rows gate, up); otherwise Hugging Face's names.
  std::vector<Parameter> parameters();
  // The linear layers in forward order, lm_head included (unless tied).
  std::vector<QuantizedLinear*> linears();

  // To be called once after every change of the weights: casts or encodes them for the forward.
  // `taken`: steps taken so far, for masks that follow a schedule; kServed: as evaluation,
  // checkpoints and export see the weights.
  void refresh(int64_t taken = kServed);
  // Whether refresh() depends on its argument.
  bool masked();
  // To be called after every optimizer's step, before refresh() (qat/quantized_linear.h).
  void after_step(double learning_rate);
  // Mean cross entropy over all positions. tokens: int64 [batch, length + 1]; differentiable.
  at::Tensor loss(const at::Tensor& tokens);
  // As loss(), without gradient: summed negative log-likelihood in fp64, per sequence [batch].
  at::Tensor nll(const at::Tensor& tokens);
  // fp32 logits [batch, length, vocab] of tokens [batch, length], without gradient.
  at::Tensor logits(const at::Tensor& tokens);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace terse
