#include "base/error.h"
#include "optim/zero_one_device.h"

namespace terse {

void zero_one_message_device(const ZeroOneStep&, const float*, const float*, const float*,
                             const float*, float*, int64_t) {
  TERSE_CHECK(false, "built without CUDA");
}

void zero_one_local_device(const ZeroOneStep&, float*, const float*, float*, float*, const float*,
                           const float*, uint16_t*, int64_t) {
  TERSE_CHECK(false, "built without CUDA");
}

void zero_one_meet_device(const ZeroOneStep&, float*, float*, float*, float*, const float*,
                          const float*, uint16_t*, int64_t) {
  TERSE_CHECK(false, "built without CUDA");
}

}  // namespace terse
