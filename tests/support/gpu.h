// For tests of the CUDA twins: skip without a GPU, memory there and back. Names of such tests
// contain "Cuda": `ctest -R Cuda` runs them all.
#pragma once
#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace terse::testing {

// Why a test that needs so many GPUs cannot run here; empty if it can.
inline std::string missing_gpus(int wanted) {
  const auto found = at::detail::getCUDAHooks().deviceCount();
  if (found >= wanted) return "";
  if (!at::detail::getCUDAHooks().hasCUDA() && found == 0)
    return "no GPU, or built without CUDA (preset cuda)";
  return fmt::format("needs {} GPUs, there are {}", wanted, found);
}

#define TERSE_NEEDS_GPUS(n) \
  if (const std::string why = ::terse::testing::missing_gpus(n); !why.empty()) GTEST_SKIP() << why

inline const at::Device kGpu(at::kCUDA, 0);

inline void* gpu_stream() {
  const c10::impl::VirtualGuardImpl guard(at::kCUDA);
  return guard.getStream(kGpu).native_handle();
}

// A vector's copy in device memory, 512-byte aligned.
template <typename T>
class OnGpu {
 public:
  explicit OnGpu(const std::vector<T>& values) : size_(values.size()) {
    at::Tensor bytes = at::empty({static_cast<int64_t>(size_ * sizeof(T))}, at::kByte);
    if (size_ > 0) std::memcpy(bytes.mutable_data_ptr(), values.data(), size_ * sizeof(T));
    memory_ = bytes.to(kGpu);
  }
  OnGpu(const OnGpu&) = delete;
  OnGpu& operator=(const OnGpu&) = delete;
  T* data() const { return reinterpret_cast<T*>(memory_.mutable_data_ptr()); }
  std::vector<T> host() const {
    std::vector<T> values(size_);
    const at::Tensor bytes = memory_.cpu();
    if (size_ > 0) std::memcpy(values.data(), bytes.const_data_ptr(), size_ * sizeof(T));
    return values;
  }

 private:
  size_t size_;
  at::Tensor memory_;
};

}  // namespace terse::testing
