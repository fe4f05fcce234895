// AutoSwitch of STEP (Lu et al., arXiv:2302.01172): when Adam's variance has been estimated well
// enough to be kept, so that masks may be learned on it (optim/adamw.h, [sparsity] dense = -1).
//
// After update t, over all coordinates,
//   Z_t = mean |v_t - v_{t-1}| = (1 - b2) mean |g_t^2 - v_{t-1}|
// and the variance stays from the first update on at which the mean of the last 1 / (1 - b2) of Z
// is below Adam's eps; not before `earliest` updates, at the latest after `latest`. This is the
// paper's arithmetic mean over coordinates; its bounds are left to the user there, here they are
// the warm-up but at least 10 % of the run, and 50 % of it.
//
// All ranks see the same averaged gradients and so decide alike; nothing travels.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/state.h"

namespace terse {

struct OptimOptions;

class AutoSwitch {
 public:
  AutoSwitch() = default;  // off
  AutoSwitch(double beta2, double eps, int64_t earliest, int64_t latest);
  static AutoSwitch from(const OptimOptions& options, int64_t total_steps);

  bool on() const { return !changes_.empty(); }
  // Z of the update just made.
  void observe(double change);
  bool due() const;
  // Why, for people: the mean and the bound that it passed, or the limit that was reached.
  std::string reason() const;

  void save(StateWriter& state) const;
  void load(const StateReader& state);

 private:
  bool full() const { return observed_ >= static_cast<int64_t>(changes_.size()); }
  double mean() const;

  double eps_ = 0;
  int64_t earliest_ = 0;
  int64_t latest_ = 0;
  int64_t observed_ = 0;
  std::vector<double> changes_;  // ring: update t at (t - 1) % its size
};

}  // namespace terse
