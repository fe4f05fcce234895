#include "trainer/bench/comm/comm_bench.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

namespace terse {
namespace {

constexpr int64_t kLayer = int64_t{1} << 20;

void copy(const float* from, float* to, int64_t n) {
#pragma omp parallel
  {
    const int64_t threads = omp_get_num_threads(), mine = omp_get_thread_num();
    const int64_t begin = n * mine / threads, end = n * (mine + 1) / threads;
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(float));
  }
}

}  // namespace

Bucket layer_bucket(int64_t elements) {
  Bucket bucket{0, 0, {}};
  while (bucket.size < elements) {
    const int64_t size = std::min(kLayer, elements - bucket.size);
    const int64_t columns = size % 1024 == 0 ? 1024 : 1;
    bucket.segments.push_back({"layer", bucket.size, size, size / columns, columns, true});
    bucket.size += size;
  }
  return bucket;
}

CommBench::CommBench(const BenchCommOptions& options)
    : options_(options), n_(options.elements), message_(n_), residual_(n_), shadow_(n_) {}

void CommBench::fill(const std::function<float(int64_t)>& message,
                     const std::function<float(int64_t)>& residual) {
#pragma omp parallel for schedule(static)
  for (int64_t i = 0; i < n_; ++i) {
    message_.get()[i] = message(i);
    residual_.get()[i] = residual(i);
  }
}

PairedTime CommBench::pairs(const std::function<void()>& work) const {
  const auto baseline = [&] { copy(message_.get(), shadow_.get(), n_); };
  return measure_pairs(baseline, work, options_.quick ? 7 : 21);
}

void CommBench::measure_time(const std::string& name, const std::function<void()>& work) {
  const PairedTime time = pairs(work);
  results_.push_back({name, 1e3 * time.seconds, "ms", "memcpy", time.ratio, true});
}

void CommBench::measure(const std::string& name, const std::function<void()>& work) {
  const PairedTime time = pairs(work);
  const double gigabytes = static_cast<double>(n_) * sizeof(float) * 1e-9;
  results_.push_back({name, gigabytes / time.seconds, "GB/s", "memcpy", time.ratio, true});
}

void CommBench::measure_codec(const std::string& name, BoundCodec& bound) {
  const Buffer<std::byte> bytes(bound.bytes(0));
  const std::span<std::byte> room(bytes.get(), static_cast<size_t>(bound.bytes(0)));
  const MessageTag tag;
  int64_t used = 0;
  measure("encode." + name, [&] {
    bound.encode(tag, {message(), residual(), shadow(), nullptr}, std::span(&room, 1),
                 std::span(&used, 1));
  });
  const std::span<const std::byte> sent = room.first(static_cast<size_t>(used));
  measure("decode." + name, [&] {
    bound.decode_sum(0, std::span(&tag, 1), std::span(&sent, 1), 1.0f, nullptr, shadow());
  });
}

}  // namespace terse
