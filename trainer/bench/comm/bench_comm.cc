#include "trainer/bench/comm/bench_comm.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <new>

#include "comm/codec/dense_arrays.h"
#include "comm/codec/onebit.h"
#include "trainer/bench/core/pairs.h"

namespace terse {
namespace {

constexpr int64_t kLayer = int64_t{1} << 20;

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

void copy(const float* from, float* to, int64_t n) {
#pragma omp parallel
  {
    const int64_t threads = omp_get_num_threads(), mine = omp_get_thread_num();
    const int64_t begin = n * mine / threads, end = n * (mine + 1) / threads;
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(float));
  }
}

class Bench {
 public:
  explicit Bench(const BenchCommOptions& options)
      : options_(options), n_(options.elements), message_(n_), residual_(n_), shadow_(n_) {
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < n_; ++i) {
      message_.get()[i] = static_cast<float>(i * 2654435761 % 2001 - 1000) * 1e-3f;
      residual_.get()[i] = static_cast<float>(i * 40503 % 1999 - 999) * 1e-3f;
    }
  }

  std::vector<BenchResult> run() {
    onebit("onebit", {.block = 4096});
    onebit("onebit_layer", {});
    Buffer<uint16_t> half(n_);
    measure("encode.bf16", [&] { to_bf16(message_.get(), nullptr, n_, half.get(), nullptr); });
    measure("decode.bf16", [&] { from_bf16(half.get(), n_, shadow_.get()); });
    return figures_;
  }

 private:
  void onebit(const std::string& name, const OneBitOptions& options) {
    Bucket bucket{0, 0, {}};
    for (; bucket.size < n_; bucket.size = std::min(n_, bucket.size + kLayer)) {
      const int64_t size = std::min(kLayer, n_ - bucket.size);
      bucket.segments.push_back({"layer", bucket.size, size, 1, size, true});
    }
    const auto bound = make_onebit_codec(options)->bind(bucket, {{0, n_}});
    const Buffer<std::byte> bytes(bound->bytes(0));
    const std::span<std::byte> room(bytes.get(), static_cast<size_t>(bound->bytes(0)));
    const std::span<const std::byte> message(room);
    const MessageTag tag;
    int64_t used = 0;
    measure("encode." + name, [&] {
      bound->encode(tag, {message_.get(), residual_.get(), shadow_.get(), nullptr},
                    std::span(&room, 1), std::span(&used, 1));
    });
    measure("decode." + name, [&] {
      bound->decode_sum(0, std::span(&tag, 1), std::span(&message, 1), 1.0f, nullptr,
                        shadow_.get());
    });
  }

  void measure(const std::string& name, const std::function<void()>& work) {
    const auto baseline = [&] { copy(message_.get(), shadow_.get(), n_); };
    const PairedTime time = measure_pairs(baseline, work, options_.quick ? 7 : 21);
    const double gigabytes = static_cast<double>(n_) * sizeof(float) * 1e-9;
    figures_.push_back({name, gigabytes / time.seconds, "GB/s", "memcpy", time.ratio, true});
  }

  BenchCommOptions options_;
  int64_t n_;
  Buffer<float> message_, residual_, shadow_;
  std::vector<BenchResult> figures_;
};

}  // namespace

std::vector<BenchResult> bench_comm(const BenchCommOptions& options) {
  omp_set_num_threads(options.threads);
  return Bench(options).run();
}

}  // namespace terse
