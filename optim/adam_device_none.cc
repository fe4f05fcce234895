#include "base/error.h"
#include "optim/adam_device.h"

namespace terse {

void adamw_device(const AdamStep&, float*, float*, float*, const float*, uint16_t*, int64_t) {
  TERSE_CHECK(false, "built without CUDA");
}

void onebit_message_device(float, float, const float*, const float*, const float*, float*,
                           int64_t) {
  TERSE_CHECK(false, "built without CUDA");
}

void onebit_apply_device(const AdamStep&, float*, float*, const float*, const float*, uint16_t*,
                         int64_t) {
  TERSE_CHECK(false, "built without CUDA");
}

}  // namespace terse
