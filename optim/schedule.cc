#include "optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"

namespace terse {
namespace {

double cosine_between(double from, double to, double part) {
  return to + (from - to) / 2 * (1 + std::cos(std::numbers::pi * part));
}

double one_cycle(const OptimOptions& o, double t, double warmup, double total) {
  const double peak_at = warmup - 1;  // torch counts steps from 0
  const double end = total - 1;
  const double at = t - 1;
  if (at <= peak_at && peak_at > 0) return cosine_between(o.lr / 100, o.lr, at / peak_at);
  if (end <= peak_at) return o.lr;
  return cosine_between(o.lr, o.lr * o.min_lr, (at - peak_at) / (end - peak_at));
}

}  // namespace

double learning_rate(const OptimOptions& options, int64_t step, int64_t total_steps) {
  TERSE_CHECK(step >= 1 && total_steps >= 1, "step {} of {}", step, total_steps);
  const auto total = static_cast<double>(total_steps);
  const auto t = static_cast<double>(std::min(step, total_steps));
  const auto warmup = static_cast<double>(options.warmup_steps(total_steps));
  if (options.schedule == "onecycle") return one_cycle(options, t, warmup, total);
  if (t < warmup) return options.lr * t / warmup;
  if (options.schedule == "constant" || total <= warmup) return options.lr;
  return cosine_between(options.lr, options.lr * options.min_lr, (t - warmup) / (total - warmup));
}

}  // namespace terse
