// Device memory of a codec: tables that are copied once, and scratch. Only for files of builds with
// CUDA (*_cuda.cc). Belongs to the device that was current when it was made.
#pragma once
#include <cuda_runtime_api.h>

#include <vector>

#include "base/error.h"

namespace terse::cuda {

// `status`: a cudaError_t, as launchers return it.
inline void check(int status, const char* what) {
  if (status != cudaSuccess)
    fail(ExitCode::usage, "{} failed on the GPU: {}", what,
         cudaGetErrorString(static_cast<cudaError_t>(status)));
}

template <typename T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) {
    void* memory = nullptr;
    if (count > 0) check(cudaMalloc(&memory, count * sizeof(T)), "allocating a codec's memory");
    data_ = static_cast<T*>(memory);
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    if (values.empty()) return;
    check(cudaMemcpy(data_, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice),
          "copying a codec's tables");
    // The copy may still be on its way, on a stream that others do not wait for.
    check(cudaDeviceSynchronize(), "copying a codec's tables");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
};

}  // namespace terse::cuda
