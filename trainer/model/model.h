// Model: what the trainer sees of a network. Session, evaluation, checkpoints and distillation know
// no other; a new kind of network implements this, gets a line in trainer/make_model.cc and a shape
// in export/artifact.h.
//
// A batch is int64 [rows, columns], as the data's Examples give it (trainer/data/examples.h): begin
// token and tokens of a text, or pixels and label of an image. A row has the same number of targets
// as any other.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/parameter.h"
#include "qat/quantized_linear.h"

namespace terse {

struct ComputeOptions {
  at::ScalarType type = at::kBFloat16;
  at::Device device = at::kCPU;
  bool recompute = false;  // activation checkpointing, a layer at a time
};

struct Outputs {
  at::Tensor logits;  // [rows targets, classes] in the compute type
  // If asked for: the residual stream after each layer, fp32 [rows, positions, width].
  std::vector<at::Tensor> hidden;
};

// Of each row of a batch.
struct Scores {
  at::Tensor nll;    // summed negative log-likelihood, fp64 [rows], on the CPU
  at::Tensor right;  // targets that are the likeliest class, int64 [rows]; undefined: not counted
};

class Model {
 public:
  virtual ~Model() = default;

  // In forward order; a layer's learned tensors (QuantizedLinear::learned()) follow its weight.
  virtual std::vector<Parameter> parameters() = 0;
  // The linear layers that [qat] and [sparsity] may touch, in forward order.
  virtual std::vector<QuantizedLinear*> linears() = 0;
  virtual at::Device device() const = 0;
  // Whether accuracy means something: classes are few and one is right.
  virtual bool classifies() const = 0;

  // Differentiable. `batch` may live on any device.
  virtual Outputs run(const at::Tensor& batch, bool hidden = false) = 0;
  // int64 [rows targets], on the model's device, in the order of run()'s logits.
  virtual at::Tensor targets(const at::Tensor& batch) const = 0;

  // To be called once after every change of the weights: casts or encodes them for the forward.
  // `taken`: steps taken so far, for masks that follow a schedule; kServed: as evaluation,
  // checkpoints and export see the weights.
  virtual void refresh(int64_t taken = kServed);
  // Sets learned steps of the layers' inputs from what this batch makes of them, layer by layer.
  // To be done once, before training; false, and nothing is computed, if there are none.
  bool calibrate(const at::Tensor& batch);
  // Whether refresh() depends on its argument.
  bool masked();
  // Of the first masked layer, with `changed` and `elements` of all; masked() only.
  MaskProgress mask_progress();
  void set_dense_steps(int64_t steps);  // of all masks (qat/quantized_linear.h)
  // To be called after every optimizer's step, before refresh() (qat/quantized_linear.h).
  void after_step(double learning_rate);

  // Mean cross entropy over all targets; differentiable.
  at::Tensor loss(const at::Tensor& batch);
  // Without gradient.
  Scores scores(const at::Tensor& batch);

 protected:
  Model() = default;
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
};

}  // namespace terse
