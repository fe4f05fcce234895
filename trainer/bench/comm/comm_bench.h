// What the figures of `terse bench comm` share: memory, a bucket of layers, the memcpy they are
// multiples of.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "comm/codec/codec.h"
#include "trainer/bench/comm/bench_comm.h"
#include "trainer/bench/core/pairs.h"

namespace terse {

// Memory aligned as torch's, touched by the threads that will use it.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t n)
      : data_(static_cast<T*>(::operator new(static_cast<size_t>(n) * sizeof(T), kAlign))) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n; ++i) data_.get()[i] = T{};
  }
  T* get() const {
    return data_.get();
  }

 private:
  static constexpr std::align_val_t kAlign{64};
  struct Free {
    void operator()(T* p) const { ::operator delete(p, kAlign); }
  };
  std::unique_ptr<T, Free> data_;
};

// `elements` in segments of 1,048,576, as matrices of 1,024 columns.
Bucket layer_bucket(int64_t elements);

class CommBench {
 public:
  explicit CommBench(const BenchCommOptions& options);

  int64_t size() const { return n_; }
  const float* message() const { return message_.get(); }
  const float* residual() const { return residual_.get(); }
  float* shadow() const { return shadow_.get(); }
  void fill(const std::function<float(int64_t)>& message,
            const std::function<float(int64_t)>& residual);

  // Takes turns with a memcpy from message to shadow.
  void measure(const std::string& name, const std::function<void()>& work);
  // The same; its value is the milliseconds.
  void measure_time(const std::string& name, const std::function<void()>& work);
  // encode.NAME with residual and shadow, decode.NAME of one message into the shadow.
  void measure_codec(const std::string& name, BoundCodec& bound);

  std::vector<BenchResult> results() const { return results_; }

 private:
  PairedTime pairs(const std::function<void()>& work) const;

  BenchCommOptions options_;
  int64_t n_;
  Buffer<float> message_, residual_, shadow_;
  std::vector<BenchResult> results_;
};

// select.topk, encode.topk, decode.topk, step.dgc.
void bench_topk(CommBench& bench);
// solve.lgreco.
void bench_allocation(CommBench& bench);

}  // namespace terse
