// When 1-bit Adam's warm-up ends: after a fixed number of steps, or when the variance has settled.
//
// Automatic (1-bit Adam, arXiv:2102.02888, section 7): the corrected ||v_t||_1 over
// ||v_{t-D}||_1, D = 1 / (1 - beta2), is at least 0.96; here also at most 1 / 0.96, since a
// variance that still grows has not settled either. Never before the learning rate's warm-up has
// ended, nor before 15 % of the run; at the latest after 25 % of it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/state.h"

namespace terse {

struct OptimOptions;

class FreezeRule {
 public:
  static FreezeRule fixed(int64_t steps);
  static FreezeRule automatic(double beta2, int64_t earliest, int64_t latest);
  static FreezeRule from(const OptimOptions& options, int64_t total_steps);

  bool is_automatic() const { return fixed_ == 0; }
  // The corrected ||v||_1 after each committed warm-up step; a fixed rule ignores it.
  void observe(double norm);
  // Is the warm-up over once `steps` of its steps are committed? Norms up to step `steps` - 1
  // count, since the decision travels in the vote that precedes the commit.
  bool due(int64_t steps) const;
  // Why it is due then, for people: the ratio and the bound it passed, or the limit that was
  // reached.
  std::string reason(int64_t steps) const;

  void save(StateWriter& state) const;
  void load(const StateReader& state);

 private:
  // Now over one window ago; 0 while the window is not full.
  double ratio() const;
  bool settled() const;

  int64_t fixed_ = 0;
  int64_t earliest_ = 0;
  int64_t latest_ = 0;
  int64_t observed_ = 0;
  std::vector<double> norms_;  // ring: step t at t % (D + 1)
};

}  // namespace terse
