// A parameter that takes no part in the loss of one rank, while others have a gradient for it: a
// mixture of experts, or a branch that a batch does not take.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <memory>

#include "comm/make_exchange.h"
#include "comm/reducer.h"
#include "optim/options.h"
#include "tests/optim/ranks.h"

namespace terse {
namespace {

class Branches {
 public:
  Branches(const Group& group, const OptimOptions& optim, const ExchangeOptions& exchange)
      : group_(group) {
    at::manual_seed(11);
    for (const char* name : {"always", "sometimes"})
      parameters_.push_back({name, (at::randn({64, 8}) * 0.3).requires_grad_(true), false});
    reducer_ = std::make_unique<Reducer>(
        group, parameters_, make_optimizer(optim, 1000, {.lossy = exchange.compressed()}),
        make_dense_exchange(group, exchange, at::kCPU),
        exchange.compressed() ? make_exchange(group, exchange, at::kCPU) : nullptr,
        ReducerOptions{.bucket_bytes = 64 * 8 * 4});
  }
  // On rank 0 the second parameter is left out, or multiplied by 0, which is its meaning.
  StepResult step(int64_t number, bool leave_out) {
    reducer_->begin(number, 1e-2);
    reducer_->last_micro_batch();
    at::manual_seed(100 * number + group_.rank());
    at::Tensor loss = at::square(parameters_[0].value - at::randn({64, 8})).mean();
    const bool used = group_.rank() != 0;
    const at::Tensor second = at::square(parameters_[1].value - at::randn({64, 8})).mean();
    if (used || !leave_out) loss = loss + second * (used ? 1.0 : 0.0);
    loss.backward();
    return reducer_->finish(loss.item<double>());
  }
  at::Tensor weights(size_t i) const { return parameters_[i].value.detach().clone(); }
  Reducer& reducer() { return *reducer_; }

 private:
  Group group_;
  std::vector<Parameter> parameters_;
  std::unique_ptr<Reducer> reducer_;
};

}  // namespace

void unused_on_one_rank(const Group& group) {
  OptimOptions onebit;
  onebit.name = "onebit_adam";
  onebit.freeze = 5;
  ExchangeOptions coded;
  coded.codec = "onebit";
  Branches without(group, onebit, coded), zeros(group, onebit, coded);
  const at::Tensor start = without.weights(1);
  for (int64_t t = 1; t <= 15; ++t) {
    const StepResult a = without.step(t, true), b = zeros.step(t, false);
    expect(a.committed && b.committed, "unused parameter: a step was skipped");
    expect(a.phase == (t <= 5 ? Phase::dense : Phase::codec), "unused parameter: phase");
    for (const size_t i : {size_t{0}, size_t{1}})
      expect(at::equal(without.weights(i), zeros.weights(i)),
             fmt::format("a parameter unused on rank 0 does not count as zeros, step {}", t));
  }
  const bool moved = !at::equal(start, without.weights(1));
  expect(moved == (group.size() > 1), "the other ranks' gradients were lost");
  without.reducer().check_replicas();
}

}  // namespace terse
