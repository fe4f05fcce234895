// Distillation: a finished model whose outputs, besides the data, say what the student should
// learn.
//
//   loss = task CE(student, data) + logits KL + squarehead SH
//   KL = T^2 mean over targets of KL(softmax(teacher / T) || softmax(student / T))
//        (Hinton, Vinyals, Dean 2015, arXiv 1503.02531)
//   SH = mean over layers l and examples of |s_l - t_l|^2 / |t_l|^2, of the residual stream after
//        each layer (SquareHead: Kurtic et al. 2023, arXiv 2310.06927, which normalises over the
//        batch; an example at a time makes the loss independent of micro-batches and ranks)
//
// The teacher computes as it is served: its Codes and masks, its rounding of activations (of a
// file: none), in the student's compute type and on its device. It costs a forward a step, its
// weights twice (fp32 and compute type) and, with squarehead, a fp32 stream a layer of both.
#pragma once
#include <cstdint>
#include <memory>

#include "base/state.h"
#include "trainer/model_shape.h"
#include "trainer/recipe/options.h"

namespace terse {

class Teacher {
 public:
  // Error(usage) if it cannot teach: other classes, and for SquareHead other layers or width, a
  // shorter context, images against text.
  Teacher(const DistillOptions& options, const ModelShape& student, const ComputeOptions& compute);

  // Of the student on this batch, with gradient; the teacher's forward has none.
  at::Tensor loss(Model& student, const at::Tensor& batch);

  // Of all its weights as they are served.
  uint64_t checksum() const { return checksum_; }
  // Error(invalid_file) if a checkpoint was trained with another teacher, or with none.
  void require_saved(const StateReader& state) const;

 private:
  DistillOptions options_;
  std::unique_ptr<Model> model_;
  uint64_t checksum_ = 0;
};

// None where [distill] is off.
std::unique_ptr<Teacher> make_teacher(const DistillOptions& options, const ModelShape& student,
                                      const ComputeOptions& compute);

}  // namespace terse
