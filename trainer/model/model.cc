#include "trainer/model/model.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "trainer/model/ops/cross_entropy.h"

namespace terse {

void Model::refresh(int64_t taken) {
  for (QuantizedLinear* linear : linears()) linear->refresh(taken);
}

bool Model::masked() {
  const auto all = linears();
  return std::ranges::any_of(all, &QuantizedLinear::masked);
}

bool Model::calibrate(const at::Tensor& batch) {
  bool any = false;
  for (QuantizedLinear* linear : linears()) any = linear->calibrate() || any;
  if (!any) return false;
  const at::NoGradGuard no_gradients;
  run(batch);
  return true;
}

MaskProgress Model::mask_progress() {
  std::optional<MaskProgress> all;
  for (const QuantizedLinear* linear : linears()) {
    if (!linear->masked()) continue;
    const MaskProgress one = linear->mask_progress();
    if (!all) all = MaskProgress{one.state};
    all->changed += one.changed;
    all->elements += one.elements;
  }
  TERSE_CHECK(all, "no layer has a mask");
  return *all;
}

void Model::set_dense_steps(int64_t steps) {
  for (QuantizedLinear* linear : linears()) linear->set_dense_steps(steps);
}

void Model::after_step(double learning_rate) {
  for (QuantizedLinear* linear : linears()) linear->after_step(learning_rate);
}

at::Tensor Model::loss(const at::Tensor& batch) {
  const at::Tensor logits = run(batch).logits;
  return cross_entropy(logits, targets(batch));
}

Scores Model::scores(const at::Tensor& batch) {
  const at::NoGradGuard no_gradients;
  const at::Tensor logits = run(batch).logits, expected = targets(batch);
  const auto by_row = [&](const at::Tensor& each) {
    return each.view({batch.size(0), -1}).sum(1).cpu();
  };
  Scores scores;
  scores.nll = by_row(cross_entropy_each(logits, expected).to(at::kDouble));
  if (classifies()) scores.right = by_row(logits.argmax(1).eq(expected).to(at::kLong));
  return scores;
}

}  // namespace terse
