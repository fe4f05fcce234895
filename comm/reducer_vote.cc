// What ranks agree on: the plan at the start, and at the end of every step whether it counts.
#include <cmath>

#include "base/error.h"
#include "comm/reducer_impl.h"

namespace terse {

void Reducer::Impl::agree_on_plan() {
  struct Start {
    uint64_t hash;
    int64_t phase;
    int64_t epoch;
    double density;
  };
  next = optimizer->next_plan(1);
  const auto all = group.all_gather_value(
      Start{plan_hash, static_cast<int64_t>(next.phase), next.residual_epoch, next.density},
      "bucket plan");
  std::string others;
  for (size_t rank = 1; rank < all.size(); ++rank)
    if (all[rank].hash != all[0].hash) others += fmt::format(" {}", rank);
  if (!others.empty())
    fail(ExitCode::disagree,
         "the bucket plan differs from rank 0's on rank(s){}; start all ranks with the same recipe "
         "and the same program",
         others);
  next = {static_cast<Phase>(all[0].phase), all[0].epoch, all[0].density};
}

Ballot Reducer::Impl::ballot(double loss, bool stop) const {
  const PhasePlan plan = optimizer->next_plan(context.step + 1);
  return {.step = context.step,
          .plan_hash = plan_hash,
          .phase = static_cast<int64_t>(context.plan.phase),
          .residual_epoch = context.plan.residual_epoch,
          .message_scale = context.message_scale,
          .squares = total(squares),
          .loss = loss,
          .next_phase = static_cast<int64_t>(plan.phase),
          .next_residual_epoch = plan.residual_epoch,
          .next_density = plan.density,
          .decide = decider() != nullptr && decider()->due(context.step) ? 1 : 0,
          .stop = stop ? 1 : 0,
          .missing = missing};
}

// Draws from votes and answers, the same on all ranks, whether the step counts.
bool Reducer::Impl::decide(const Tally& result, StepResult& r) {
  r.loss = result.loss;
  r.bad_rank = result.bad_rank;
  r.gradient_norm = result.norm;
  if (result.bad_rank >= 0) return false;
  if (coded()) {
    const double truth = coefficient(result.norm);
    r.reencoded = truth < 0.5 * context.message_scale;
    if (r.reencoded) encode_again(truth);
    r.clip_coefficient = context.message_scale;
  } else {
    r.gradient_norm = std::sqrt(total(answer_squares));
    r.clip_coefficient = context.answer_scale = coefficient(r.gradient_norm);
  }
  return std::isfinite(total(answer_squares));
}

}  // namespace terse
