// 0/1 Adam on the ranks that training_ranks.cc started.
#include <fmt/format.h>

#include <cmath>

#include "base/error.h"
#include "tests/optim/ranks.h"
#include "tests/optim/training.h"

namespace terse {
namespace {

OptimOptions zero_one(int64_t freeze, int64_t local_steps, int64_t local_doubling = 4) {
  OptimOptions o;
  o.name = "zero_one_adam";
  o.freeze = freeze;
  o.refresh_doubling = 4;
  o.warmup = 0;
  o.local_steps = local_steps;
  o.local_doubling = local_doubling;
  return o;
}

ExchangeOptions onebit() {
  ExchangeOptions e;
  e.codec = "onebit";
  return e;
}

// Bytes by phase, exactly: nothing in a local step, in a meeting what 1-bit Adam sends.
void exchanges_less(const Group& group) {
  OptimOptions other = zero_one(10, 1);
  other.name = "onebit_adam";
  Training adam(group, other, onebit(), {});
  Training run(group, zero_one(10, 8), onebit(), {});
  int64_t meetings = 0, sent = 0, adam_sent = 0;
  double first = 0, last = 0, adam_last = 0;
  for (int64_t step = 1; step <= 210; ++step) {
    const StepResult a = adam.step(), r = run.step();
    expect(r.committed, "a step was skipped");
    if (step <= 20) first += r.loss;
    if (step > 170) last += r.loss, adam_last += a.loss;
    if (step <= 10) continue;
    const bool meets = run.reducer().in_sync();
    expect(meets == r.in_sync && meets == (r.phase == Phase::codec), "in_sync");
    if (meets) {
      run.reducer().check_replicas();
      expect(r.wire_bytes == a.wire_bytes, "a meeting is not 1-bit Adam's exchange");
    } else {
      expect(r.phase == Phase::skip && r.wire_bytes == 0, "a local step sent something");
    }
    meetings += meets, sent += r.wire_bytes, adam_sent += a.wire_bytes;
  }
  // Intervals after the freeze: 1 for updates 11 to 14, 2 to 18 (16, 18), 4 to 22 (20), then 8:
  // 24, 32, ... 208.
  expect(meetings == 4 + 2 + 1 + 24, fmt::format("{} meetings", meetings));
  // Where clipping let a step be encoded twice, both sent twice: bytes are compared by step above.
  expect(group.size() == 1 || 6 * sent < adam_sent,
         fmt::format("{} bytes, {} by 1-bit Adam", sent, adam_sent));
  // Noise of 0.1 in the targets leaves a loss of 0.01; both are within a few hundredths of where
  // training began.
  expect(std::abs(last - adam_last) / 40 < 0.05 * first / 20,
         fmt::format("loss {} where 1-bit Adam has {}, from {}", last / 40, adam_last / 40,
                     first / 20));
}

// A NaN in a local step is the rank's own affair, in a meeting it is skipped by all.
void survives_poison(const Group& group) {
  Training run(group, zero_one(4, 4, 1), onebit(), {});
  const bool mine = group.rank() == group.size() - 1;
  for (int64_t step = 1; step <= 24; ++step) {
    const bool local = step == 13 || step == 14, meeting = step == 20;
    const StepResult r = run.step(mine && (local || meeting));
    expect(r.committed != meeting, fmt::format("step {} committed: {}", step, r.committed));
    if (local) expect(r.bad_rank == (mine ? group.rank() : -1), "who had no gradient");
    if (step == 16) expect(r.in_sync && r.missing == 2, fmt::format("missing {}", r.missing));
    if (step == 20) expect(!r.in_sync && r.bad_rank == group.size() - 1, "the skipped meeting");
    if (step == 21) expect(r.in_sync && r.missing == 0, "the next step meets");
    if (r.in_sync) run.reducer().check_replicas();
    expect(run.weights().isfinite().all().item<bool>(), "a NaN got in");
  }
}

// From every step at which the ranks are in sync; between them there is nothing to save.
void resumes(const Group& group) {
  int64_t saves = 0;
  Training whole(group, zero_one(14, 4, 2), onebit(), {});
  for (int64_t step = 1; step <= 40; ++step) {
    whole.step();
    MemoryState state(group.size());
    if (!whole.reducer().in_sync()) {
      try {
        whole.save(state);
        expect(false, "saved between meetings");
      } catch (const Error& e) {
        expect(e.code() == ExitCode::usage, e.what());
      }
      continue;
    }
    whole.save(state);
    if (++saves % 3 != 1) continue;
    Training one(group, zero_one(14, 4, 2), onebit(), {}),
        two(group, zero_one(14, 4, 2), onebit(), {});
    one.load(state), two.load(state);
    expect(whole.hash() == one.hash(), fmt::format("loading at step {} lost something", step));
    // The first is killed between two meetings; the second begins again.
    for (int64_t more = 1; more <= 3; ++more) one.step();
    one.load(state);
    for (int64_t more = 1; more <= 12 || !one.reducer().in_sync(); ++more) one.step(), two.step();
    expect(at::equal(one.weights(), two.weights()), fmt::format("weights from step {}", step));
    expect(one.hash() == two.hash(), fmt::format("state from step {}", step));
  }
  expect(saves >= 14 + 4 + 5, fmt::format("in sync {} times", saves));
}

}  // namespace

void zero_one_runs(const Group& group) {
  exchanges_less(group);
  survives_poison(group);
  resumes(group);
}

}  // namespace terse
