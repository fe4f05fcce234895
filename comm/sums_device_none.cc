#include "base/error.h"
#include "comm/sums_device.h"

namespace terse {

double sum_device(const at::Tensor&, bool) {
  TERSE_CHECK(false, "built without CUDA");
}

}  // namespace terse
