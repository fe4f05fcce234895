#include "optim/freeze.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "optim/options.h"

namespace terse {
namespace {
constexpr double kSettled = 0.96;
constexpr const char* kNorms = "optim/freeze/norms";
constexpr const char* kObservedRatios = "optim/freeze/observed";
}  // namespace

FreezeRule FreezeRule::fixed(int64_t steps) {
  TERSE_CHECK(steps >= 1, "the variance needs one dense step at least");
  FreezeRule rule;
  rule.fixed_ = steps;
  return rule;
}

FreezeRule FreezeRule::automatic(double beta2, int64_t earliest, int64_t latest) {
  FreezeRule rule;
  rule.earliest_ = std::max<int64_t>(earliest, 1);
  rule.latest_ = std::max(latest, rule.earliest_);
  const double window = std::round(1 / (1 - beta2));
  // A window that is longer than the warm-up may last can never fill.
  const auto most = static_cast<double>(rule.latest_);
  rule.norms_.assign(static_cast<size_t>(std::min(window, most)) + 1, 0.0);
  return rule;
}

FreezeRule FreezeRule::from(const OptimOptions& options, int64_t total_steps) {
  if (options.freeze > 0) return fixed(options.freeze);
  const int64_t warmup = options.warmup_steps(total_steps);
  return automatic(options.beta2(), std::max(warmup, total_steps * 15 / 100),
                   std::max(warmup, total_steps / 4));
}

void FreezeRule::observe(double norm) {
  if (!is_automatic()) return;
  norms_[static_cast<size_t>(observed_) % norms_.size()] = norm;
  ++observed_;
}

double FreezeRule::ratio() const {
  const auto size = static_cast<int64_t>(norms_.size());
  if (observed_ < size) return 0;
  const double before = norms_[static_cast<size_t>(observed_ % size)];
  return before > 0 ? norms_[static_cast<size_t>((observed_ - 1) % size)] / before : 0;
}

bool FreezeRule::settled() const {
  return ratio() >= kSettled && ratio() <= 1 / kSettled;
}

bool FreezeRule::due(int64_t steps) const {
  if (!is_automatic()) return steps >= fixed_;
  return steps >= latest_ || (steps >= earliest_ && settled());
}

std::string FreezeRule::reason(int64_t steps) const {
  if (!is_automatic()) return fmt::format("[optim] freeze = {}", fixed_);
  const size_t window = norms_.size() - 1;
  std::string measured =
      observed_ <= static_cast<int64_t>(window)
          ? fmt::format("a window of {} steps is not full", window)
          : fmt::format("||v|| is {:.4f} of that {} steps before, settled between {} and {:.4f}",
                        ratio(), window, kSettled, 1 / kSettled);
  if (settled() && steps >= earliest_) return measured;
  return fmt::format("{} dense steps at most; {}", latest_, measured);
}

void FreezeRule::save(StateWriter& state) const {
  if (!is_automatic()) return;
  const auto size = static_cast<int64_t>(norms_.size());
  state.value(Scope::shared, kObservedRatios, observed_);
  state.tensor(Scope::shared, kNorms, {DType::f64, {size}, bytes_of(norms_.data(), size)});
}

void FreezeRule::load(const StateReader& state) {
  if (!is_automatic()) return;
  const auto size = static_cast<int64_t>(norms_.size());
  const TensorView view = state.require(Scope::shared, kNorms, DType::f64, {size});
  std::memcpy(norms_.data(), view.data.data(), view.data.size());
  observed_ = state.require_integer(Scope::shared, kObservedRatios);
}

}  // namespace terse
