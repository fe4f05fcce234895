#include "comm/exchange.h"

#include <cmath>

#include "comm/sums.h"

namespace terse {

bool Exchange::finite(int64_t, const at::Tensor& answer) const {
  return std::isfinite(sum_of_squares(answer));
}

}  // namespace terse
