#include "comm/exchange_tensors.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "base/error.h"

namespace terse {

std::string bucket_tag(int64_t bucket) {
  return fmt::format("bucket {}", bucket);
}

std::string steps_key(int64_t bucket) {
  return fmt::format("exchange/steps/{}", bucket);
}

void check_bucket_tensor(const at::Tensor& tensor, int64_t size, const char* what) {
  TERSE_CHECK(tensor.scalar_type() == at::kFloat && tensor.is_contiguous(),
              "{} must be contiguous fp32", what);
  TERSE_CHECK(tensor.numel() == size, "{} has {} elements, its bucket {}", what, tensor.numel(),
              size);
}

void check_live_words(const at::Tensor& words, int64_t size, int64_t bucket) {
  TERSE_CHECK(!words.defined() || (words.scalar_type() == at::kLong && words.is_contiguous() &&
                                   words.numel() * 64 >= size),
              "live mask of bucket {}", bucket);
}

void zero_dead(const at::Tensor& words, const at::Tensor& values) {
  const int64_t* live = words.const_data_ptr<int64_t>();
  auto* x = values.mutable_data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (live[i / 64] == -1) {
      i += 63 - i % 64;
      continue;
    }
    if (((static_cast<uint64_t>(live[i / 64]) >> (i % 64)) & 1u) == 0) x[i] = 0.0f;
  }
}

void check_cpu(at::Device device, const std::string& codec) {
  if (!device.is_cpu())
    fail(
        ExitCode::usage,
        "[exchange] codec = \"{}\" averages CPU tensors only; use onebit, fp32 or bf16, or [train] "
        "device = \"cpu\"",
        codec);
}

void* current_stream(at::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  return guard.getStream(device).native_handle();
}

}  // namespace terse
