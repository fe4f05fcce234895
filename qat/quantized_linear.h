// QuantizedLinear: y = quantize(x) quantize(W)^T with a custom backward, the one Linear of all
// models.
//
// The weight is a fp32 master [out, in]. refresh() encodes it once per optimizer step into the
// compute tensors; forward() may then run any number of micro-batches. With no Representation it is
// a plain linear layer that casts the weight to the compute type, so that models have one code
// path. [sparsity] puts a mask over the weight, quantized or not (qat/masked.h).
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>
#include <string>

#include "qat/codes.h"
#include "qat/input_format.h"
#include "qat/options.h"
#include "sparsity/options.h"

namespace terse {

class Representation;  // qat/representation.h
struct LearnedTensor;  // there

// What a mask's schedule does at this step, and how many of the weight's elements joined or left
// the mask at the latest refresh() of training.
struct MaskProgress {
  MaskState state;
  int64_t changed = 0;
  int64_t elements = 0;
};

// The mask of a weight: its pattern and its bits [out, mask_stride(in)] (sparsity/mask.h).
struct WeightMask {
  Pattern pattern;
  std::vector<uint8_t> bits;
};

class QuantizedLinear {
 public:
  // `weight`: fp32 leaf [out, in] that requires grad, shared with the caller. `compute`: at::kFloat
  // or at::kBFloat16. `options` decides whether and how weight and activations are quantized;
  // `name` is matched against options.targets / options.ignore, and so for `sparsity`.
  QuantizedLinear(std::string name, at::Tensor weight, const QatOptions& options,
                  at::ScalarType compute, const SparsityRun& sparsity = {});
  ~QuantizedLinear();
  QuantizedLinear(QuantizedLinear&&) noexcept;
  QuantizedLinear& operator=(QuantizedLinear&&) noexcept;

  const std::string& name() const;
  bool quantized() const;  // has Codes
  bool masked() const;     // has a mask, at some step at least
  const at::Tensor& weight() const;
  // fp32 leaves besides the weight, by their full names ("LAYER.log_step", "LAYER.input_log_step"):
  // whoever optimizes the weight optimizes them too, without weight decay. Empty unless the
  // estimator is lsq.
  const std::vector<LearnedTensor>& learned() const;
  // The next forward() sets a learned step of the input from what it gets; to be done once, before
  // training. Returns whether there is one.
  bool calibrate();

  // Encodes the current weight; to be called after every change of it, before forward(). `taken`:
  // steps taken so far, which a mask's schedule follows; kServed: as evaluation, checkpoints and
  // export see it (qat/masked.h).
  void refresh(int64_t taken = kServed);
  // How many steps are dense, where the schedule waited for the variance (sparsity/schedule.h).
  void set_dense_steps(int64_t steps);
  // masked() only.
  MaskProgress mask_progress() const;
  // To be called after an optimizer's step with this learning rate, before refresh(): what SR-STE
  // does to the weight itself. Nothing for other layers.
  void after_step(double learning_rate);
  // x: [..., in] in the compute type; returns [..., out] in the compute type. Differentiable in x
  // and in the weight (the gradient arrives in weight.grad() as fp32).
  at::Tensor forward(const at::Tensor& x);

  // The Codes of the current weight (quantized() only); of a masked one after refresh(kServed).
  Codes codes() const;
  // Of the latest refresh(); empty where nothing is masked.
  std::optional<WeightMask> mask() const;
  // What the forward does to its input now; empty: nothing but the weight's rotation.
  std::optional<InputFormat> input() const;
  // What it does from now on, whatever the options said: evaluation of a checkpoint or an exported
  // file. To be followed by use_codes(), whose rotation the input then gets, too, or by refresh().
  // Error(invalid_file) where blocks do not divide the columns.
  void use_input(const std::optional<InputFormat>& input);
  // Runs on given Codes from now on. The weight is then ignored and gets no gradient.
  void use_codes(const Codes& codes);
  // What the forward multiplies with, as fp32 in the stored space: decoded codes, or the weight
  // rounded to the compute type.
  at::Tensor effective_weight() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace terse
