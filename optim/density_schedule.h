// How sparse Deep Gradient Compression is at a step (Lin et al., arXiv:1712.01887, section 3.4): a
// ramp of densities 1/4, 1/16, 1/64, 1/250 of equal length, then the recipe's own. A pure function
// of the step, so resuming needs no state.
#pragma once
#include <cstdint>

namespace terse {

struct DensitySchedule {
  double density = 0.001;   // after the ramp
  int64_t ramp_steps = 0;   // 0: no ramp
  double sparse_below = 1;  // densities from here on up send more than a dense average does

  // Of step 1, 2, ...; 0: average densely, sparse would not be smaller yet.
  double at(int64_t step) const;
};

}  // namespace terse
