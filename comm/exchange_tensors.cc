#include "comm/exchange_tensors.h"

#include "base/error.h"

namespace terse {

std::string bucket_tag(int64_t bucket) {
  return fmt::format("bucket {}", bucket);
}

void check_bucket_tensor(const at::Tensor& tensor, int64_t size, const char* what) {
  TERSE_CHECK(tensor.scalar_type() == at::kFloat && tensor.is_contiguous(),
              "{} must be contiguous fp32", what);
  TERSE_CHECK(tensor.numel() == size, "{} has {} elements, its bucket {}", what, tensor.numel(),
              size);
}

}  // namespace terse
