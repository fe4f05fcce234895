// The losses of distillation (trainer/teacher.h has the formulas and papers), of ATen operations,
// on any device. A row or an example is computed alone, so the number of threads changes nothing.
#pragma once
#include <ATen/core/Tensor.h>

#include <vector>

namespace terse {

struct DistillWeights {
  double task = 1.0;
  double logits = 1.0;
  double temperature = 1.0;
};

// task mean(CE(logits, targets)) + logits T^2 mean(KL(softmax(teacher / T) || softmax(logits /
// T))), a fp32 scalar. logits, teacher: [rows, classes] in fp32 or bf16; targets: int64 [rows].
// Differentiable in `logits`, whose gradient is made in the forward, some rows at a time: memory is
// that of one more `logits`. Backward may run once.
at::Tensor distill_cross_entropy(const at::Tensor& logits, const at::Tensor& targets,
                                 const at::Tensor& teacher, const DistillWeights& weights);

// mean over layers and examples of |s - t|^2 / |t|^2. Each: fp32 [examples, positions, width].
// Differentiable in `student`. Memory: a stream a layer.
at::Tensor squarehead(const std::vector<at::Tensor>& student,
                      const std::vector<at::Tensor>& teacher);

}  // namespace terse
