#include "optim/zero_one_schedule.h"

#include <algorithm>
#include <cmath>

#include "optim/options.h"
#include "optim/schedule.h"

namespace terse {
namespace {

// The gap after refresh number j, counted from 0, is 2^block with block = j / kappa; gaps so far
// sum to kappa (2^block - 1).
struct Position {
  int64_t block = 0;
  int64_t into = 0;  // updates since the block's first refresh
};

Position position_of(int64_t update, int64_t kappa) {
  Position at{.block = 0, .into = update - 1};
  while (at.into >= kappa << at.block) at.into -= kappa << at.block++;
  return at;
}

int64_t doubled(int64_t times, int64_t most) {
  int64_t interval = 1;
  while (times-- > 0 && 2 * interval <= most) interval *= 2;
  return interval;
}

}  // namespace

ZeroOneSchedule ZeroOneSchedule::from(const OptimOptions& options, int64_t total_steps) {
  ZeroOneSchedule s;
  s.warmup = options.warmup_steps(total_steps);
  s.freeze = options.freeze > 0
                 ? options.freeze
                 : std::max({s.warmup, total_steps * 15 / 100, static_cast<int64_t>(1)});
  s.refresh_doubling = options.refresh_doubling;
  s.local_steps = options.local_steps;
  s.local_doubling = options.local_doubling;
  s.total_steps = total_steps;
  s.decay = [options, total_steps](int64_t step) {
    return options.lr > 0 ? learning_rate(options, step, total_steps) / options.lr : 1.0;
  };
  return s;
}

bool ZeroOneSchedule::refreshes(int64_t update) const {
  if (update > freeze) return false;
  const Position at = position_of(update, refresh_doubling);
  return at.into % (int64_t{1} << at.block) == 0;
}

int64_t ZeroOneSchedule::refreshes_until(int64_t update) const {
  if (update < 1) return 0;
  const Position at = position_of(std::min(update, freeze), refresh_doubling);
  return at.block * refresh_doubling + (at.into >> at.block) + 1;
}

int64_t ZeroOneSchedule::interval(int64_t step, int64_t update) const {
  if (update <= freeze || step <= warmup || step >= total_steps) return 1;
  if (local_doubling > 0) return doubled((update - freeze - 1) / local_doubling, local_steps);
  const double part = decay(step);
  // A half that cosines of two machines round to either side counts as one on both.
  const double halvings = part > 0 ? std::floor(-std::log2(part) + 1e-9) : 62.0;
  return doubled(static_cast<int64_t>(std::clamp(halvings, 0.0, 62.0)), local_steps);
}

bool ZeroOneSchedule::meets(int64_t step, int64_t update) const {
  return step % interval(step, update) == 0;
}

}  // namespace terse
