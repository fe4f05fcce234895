// Device memory of a codec: tables that are copied once, and scratch; page-locked memory, which
// copies on a stream need to be queued. Only for files of builds with
// CUDA (*_cuda.cc). Belongs to the device that was current when it was made.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
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

template <typename T>
class HostArray {
 public:
  explicit HostArray(size_t count) {
    void* memory = nullptr;
    if (count > 0)
      check(cudaHostAlloc(&memory, count * sizeof(T), cudaHostAllocPortable),
            "allocating page-locked memory");
    data_ = static_cast<T*>(memory);
  }
  ~HostArray() {
    cudaDeviceSynchronize();  // a queued copy may still read it
    cudaFreeHost(data_);
  }
  HostArray(const HostArray&) = delete;
  HostArray& operator=(const HostArray&) = delete;
  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
};

// An array that is made anew when more is asked for; its contents are lost then.
template <typename Array>
class Growing {
 public:
  auto* reserve(size_t count) {
    if (!array_ || count > size_) {
      array_ = std::make_unique<Array>(count);
      size_ = count;
    }
    return array_->data();
  }

 private:
  std::unique_ptr<Array> array_;
  size_t size_ = 0;
};

// Queued on a stream (a cudaStream_t), in whichever direction the pointers say.
template <typename T>
void copy(T* to, const T* from, size_t count, void* stream) {
  if (count == 0) return;
  check(cudaMemcpyAsync(to, from, count * sizeof(T), cudaMemcpyDefault,
                        static_cast<cudaStream_t>(stream)),
        "copying a codec's messages");
}

inline void wait_for(void* stream, const char* what) {
  check(cudaStreamSynchronize(static_cast<cudaStream_t>(stream)), what);
}

}  // namespace terse::cuda
