// The learned steps of one quantizer, LSQ's parameters (qat/lsq.h): the tensor that optimizer,
// exchange and checkpoint see, and the scales made from it. CPU or CUDA; on CUDA the gradient is a
// handful of ATen calls. Not thread-safe.
#pragma once
#include <ATen/core/Tensor.h>

#include "qat/lsq.h"

namespace terse {

class LearnedStep {
 public:
  // `count` steps of 1 until start(); `shared`: elements or features that gs counts for each.
  LearnedStep(const CodeFormat& format, int64_t count, int64_t shared, at::Device device);
  // One for each row, group or the whole of a weight [rows, columns], as lsq_start() has it.
  static LearnedStep of_weight(const CodeFormat& format, const at::Tensor& weight);
  // One for all tokens.
  static LearnedStep of_input(const CodeFormat& format, int64_t columns, at::Device device);

  // Sets the steps to s0 of these values [rows, columns], which are not yet rotated.
  void start(const at::Tensor& values);
  // ln s: fp32 leaf [count] that requires grad.
  const at::Tensor& log() const { return log_; }
  // To be called after every change of log(). Error(non_finite) that names the layer.
  void refresh(const std::string& layer);
  // The scale from now on, whatever log() says: a checkpoint's or a file's. One step only.
  void fix(float scale);
  // fp32, as stored: [rows, groups] flat, or one.
  const at::Tensor& scales() const { return scales_; }

  // The gradient of log(): values and d [rows, columns], fp32 or bf16; codes and mask as the
  // quantizer left them.
  at::Tensor gradient(const at::Tensor& values, const at::Tensor& codes, const at::Tensor& mask,
                      const at::Tensor& d) const;

 private:
  CodeFormat format_;
  double gradient_scale_;
  at::Tensor log_, scales_;
  bool fixed_ = false;
};

}  // namespace terse
