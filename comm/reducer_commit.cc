// A step that counts, one that counts here alone, and one that does not.
#include <cmath>

#include "base/error.h"
#include "comm/reducer_impl.h"

namespace terse {

void Reducer::Impl::take_together(double loss, bool stop, StepResult& r) {
  const Tally result = vote(group, ballot(loss, stop));
  r.stop = result.stop;
  r.missing = result.missing;
  r.committed = decide(result, r);
  clock.voted();
  r.exposed_seconds = clock.exposed();
  if (r.committed)
    commit(result);
  else
    skip(r);
}

void Reducer::Impl::take(const PhasePlan& following) {
  for (int64_t b = 0; b < bucket_count(); ++b) apply(b);
  if (exchange() != nullptr) exchange()->commit();
  optimizer->commit(context, following);
  const bool new_epoch = following.residual_epoch != context.plan.residual_epoch;
  if (new_epoch && compressed) compressed->reset_residuals();
  const bool new_phase = following.phase != context.plan.phase;
  if (new_epoch || (new_phase && !local() && following.phase != Phase::skip)) tell_live();
  if (following.density != context.plan.density) tell_density(following.density);
  next = following;
}

void Reducer::Impl::apply(int64_t bucket) {
  at::Tensor a = answer(bucket);
  optimizer->apply(context, bucket, a);
  if (coded()) answers[static_cast<size_t>(bucket)] = std::move(a);
}

void Reducer::Impl::commit(const Tally& result) {
  take(result.next);
  clip_norm = result.norm;
  skipped = 0;
  missing = 0;
  in_sync = true;
  const StepTimes& times = clock.applied();
  if (decider() != nullptr) decider()->observe(times);
  if (decider() == nullptr || !result.decide) return;
  decider()->decide(context.step + 1);
  tell_compression();
}

// A local step: what other ranks do is not known, and nothing of it is needed.
void Reducer::Impl::take_alone(double loss, StepResult& r) {
  r.exposed_seconds = clock.exposed();
  const double norm = std::sqrt(total(squares));
  context.missing = !std::isfinite(norm) || !std::isfinite(loss);
  r.committed = true;
  r.loss = loss;
  r.gradient_norm = norm;
  if (context.missing) {
    ++missing;
    r.bad_rank = group.rank();
  } else {
    r.clip_coefficient = context.message_scale = coefficient(norm);
  }
  take(optimizer->next_plan(context.step + 1));
  in_sync = false;
}

void Reducer::Impl::skip(const StepResult& r) {
  if (exchange() != nullptr) exchange()->rollback();
  optimizer->rollback();
  if (++skipped > options.max_skipped)
    fail(ExitCode::non_finite,
         "step {}: {} steps in a row had gradients that are not finite (last on rank {}); lower "
         "[optim] lr, or resume from an earlier checkpoint",
         context.step, skipped, r.bad_rank);
}

void Reducer::Impl::require_sync(const char* to) const {
  if (in_sync) return;
  fail(ExitCode::usage,
       "asked to {} after local steps, when weights differ by rank; do it after a step whose "
       "StepResult says in_sync",
       to);
}

void Reducer::Impl::tell_density(double density) {
  if (compressed && density > 0) compressed->set_density(density);
}

// Once begun, compression goes on: the optimizer's state has changed its meaning.
void Reducer::Impl::tell_compression() {
  if (decider() == nullptr) return;
  optimizer->allow_compression(decider()->compresses() || next.phase != Phase::dense);
}

void Reducer::Impl::tell_live() {
  if (!compressed) return;
  for (int64_t b = 0; b < bucket_count(); ++b) compressed->set_live(b, optimizer->live(b));
}

}  // namespace terse
