// Masked: a Representation behind a mask (sparsity/). Alone, of a weight that stays in the compute
// type; or joint, of the Codes that another Representation makes:
//
//   z = rotate(w)                            the space of the stored weight; z = w without rotation
//   m = mask of the step's pattern on |z|
//   forward multiplies with  q (m + (1 - m) beta)         q = decode(encode(w)), or w itself
//   dW = rotate(trust .* flow(g))            trust: the inner estimator's mask, 1 where there is
//                                            none; flow: sparsity/flow.h
//
// What the inner Representation learns besides (a step) gets the derivative of that forward: its
// gradient comes through m + (1 - m) beta, whatever the flow.
//
// The inner Representation sees the whole weight, pruned elements included: scales are those of the
// dense weight (as QuEST's 4:8 runs have it), and a weight that comes back finds its code.
//
// The mask follows from the weight and the number of steps taken, nothing else: no state of its own
// is to be saved. Served (set_step(kServed)), it is the final pattern with beta = 0.
#pragma once
#include <memory>
#include <string>

#include "qat/representation.h"
#include "sparsity/options.h"

namespace terse {

class Masked final : public Representation {
 public:
  // `inner` null: the weight stays in the compute type.
  Masked(std::string name, const LayerMask& mask, std::unique_ptr<Representation> inner);

  // Steps taken so far, or kServed; holds from the next encode() on.
  void set_step(int64_t taken);
  // How many steps are dense, where the schedule did not know (kUntilFrozen).
  void set_dense(int64_t steps) { plan_.schedule.dense = steps; }
  bool has_codes() const { return inner_ != nullptr; }
  const MaskState& state() const { return state_; }
  // Bits of the latest encode() or adopt(), [out, mask_stride(in)]; undefined in the dense stage.
  const at::Tensor& mask() const { return mask_; }
  // Elements on which it differs from the mask of the encode() before, those as served left out
  // (their share is the paper's SAD); 0 where either is dense.
  int64_t changed() const { return changed_; }

  // backward() would return what it is given, but for pull(): a product may be added to the
  // gradient in place.
  bool passes_gradient() const;
  // SR-STE, coupled: adds lambda (1 - m) w to the weight's gradient, at the first call after an
  // encode() only. backward() calls it.
  void pull(const at::Tensor& gradient);
  // SR-STE, decoupled: w <- w - learning_rate lambda (1 - m) w with the mask of the latest
  // encode(); to be called after the optimizer's step.
  void after_step(double learning_rate, const at::Tensor& weight) const;

  int64_t hadamard() const override { return inner_ ? inner_->hadamard() : 0; }
  // Error(non_finite) also where the mask finds NaN or infinity.
  void encode(const at::Tensor& weight, const at::Tensor& decoded) override;
  void adopt(const Codes& codes, const at::Tensor& decoded) override;
  // has_codes() only. decode(): of the latest encode(); codes(): after one as served, else a bug.
  at::Tensor decode() const override;
  Codes codes() const override;
  std::vector<LearnedTensor> parameters() override;
  RepresentationGradients backward(const at::Tensor& d_decoded) override;

 private:
  at::Tensor stored(const at::Tensor& weight) const;
  void note_change();
  void add_pruned(const at::Tensor& weight, double factor, const at::Tensor& to) const;

  std::string name_;
  LayerMask plan_;
  std::unique_ptr<Representation> inner_;
  MaskState state_;
  int64_t taken_ = kServed;
  at::Tensor mask_;
  at::Tensor trained_;  // mask of the latest encode() that was not as served
  int64_t changed_ = 0;
  at::Tensor weight_;  // of the latest encode(); shares its memory
  bool pulled_ = true;
};

}  // namespace terse
