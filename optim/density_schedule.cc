#include "optim/density_schedule.h"

#include <algorithm>

namespace terse {

double DensitySchedule::at(int64_t step) const {
  constexpr double kRamp[] = {0.25, 0.0625, 0.015625, 0.004};
  constexpr int64_t kStages = 4;
  double now = density;
  if (step <= ramp_steps) now = std::max(density, kRamp[(step - 1) * kStages / ramp_steps]);
  return now < sparse_below ? now : 0;
}

}  // namespace terse
