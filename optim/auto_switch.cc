#include "optim/auto_switch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "optim/options.h"

namespace terse {
namespace {

constexpr const char* kObserved = "optim/switch/observed";
constexpr const char* kChanges = "optim/switch/changes";

}  // namespace

AutoSwitch::AutoSwitch(double beta2, double eps, int64_t earliest, int64_t latest)
    : eps_(eps), earliest_(std::max<int64_t>(earliest, 1)), latest_(std::max(latest, earliest_)) {
  // A window that is longer than the first phase may last can never fill.
  const double window = std::floor(1 / (1 - beta2) + 1e-9);
  changes_.assign(static_cast<size_t>(std::min(window, static_cast<double>(latest_))), 0.0);
}

AutoSwitch AutoSwitch::from(const OptimOptions& options, int64_t total_steps) {
  const int64_t earliest = std::max(options.warmup_steps(total_steps), total_steps / 10);
  return {options.beta2(), options.eps, earliest, std::max(earliest, total_steps / 2)};
}

void AutoSwitch::observe(double change) {
  changes_[static_cast<size_t>(observed_) % changes_.size()] = change;
  ++observed_;
}

double AutoSwitch::mean() const {
  double sum = 0;
  for (const double change : changes_) sum += change;
  return sum / static_cast<double>(changes_.size());
}

bool AutoSwitch::due() const {
  if (observed_ >= latest_) return true;
  return observed_ >= earliest_ && full() && mean() < eps_;
}

std::string AutoSwitch::reason() const {
  std::string measured =
      full()
          ? fmt::format("the variance changed by {:.3g} an update on the mean of {}, eps is {:g}",
                        mean(), changes_.size(), eps_)
          : fmt::format("a window of {} updates is not full", changes_.size());
  if (full() && mean() < eps_) return measured;
  return fmt::format("{} updates at most; {}", latest_, measured);
}

void AutoSwitch::save(StateWriter& state) const {
  const auto size = static_cast<int64_t>(changes_.size());
  state.value(Scope::shared, kObserved, observed_);
  state.tensor(Scope::shared, kChanges, {DType::f64, {size}, bytes_of(changes_.data(), size)});
}

void AutoSwitch::load(const StateReader& state) {
  const auto size = static_cast<int64_t>(changes_.size());
  const TensorView view = state.require(Scope::shared, kChanges, DType::f64, {size});
  std::memcpy(changes_.data(), view.data.data(), view.data.size());
  observed_ = state.require_integer(Scope::shared, kObserved);
}

}  // namespace terse
