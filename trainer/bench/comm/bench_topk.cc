#include <algorithm>
#include <cmath>

#include "base/isa.h"
#include "comm/codec/topk.h"
#include "optim/kernels/sgd.h"
#include "trainer/bench/comm/comm_bench.h"

namespace terse {
namespace {

// Laplace distributed, as gradients roughly are: selection depends on the tail.
float laplace(int64_t i, uint64_t seed) {
  uint64_t h = (static_cast<uint64_t>(i) + seed) * 0x9e3779b97f4a7c15u;
  h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
  h ^= h >> 32;
  const float u = (static_cast<float>(h >> 41) + 0.5f) * 0x1p-23f;
  return (h & 1) != 0 ? std::log(u) : -std::log(u);
}

// What a step of DGC does to a bucket (optim/dgc.cc, comm/reducer.cc): velocity into its shadow and
// into the message, accumulation, selection, masking of both.
void bench_dgc(CommBench& bench, BoundCodec& bound) {
  const int64_t n = bench.size();
  const Buffer<float> gradient(n), velocity(n), next(n), message(n);
  const Buffer<std::byte> bytes(bound.bytes(0));
  const std::span<std::byte> room(bytes.get(), static_cast<size_t>(bound.bytes(0)));
  std::copy_n(bench.message(), n, gradient.get());
  std::copy_n(bench.residual(), n, velocity.get());
  constexpr int64_t kBlock = 16384;
  int64_t used = 0;
  bench.measure("step.dgc", [&] {
#pragma omp parallel for schedule(static)
    for (int64_t at = 0; at < n; at += kBlock)
      TERSE_DISPATCH(sgd_velocity({.momentum = 0.9f}, nullptr, gradient.get() + at,
                                  velocity.get() + at, next.get() + at, message.get() + at,
                                  std::min(kBlock, n - at)));
    bound.encode({}, {message.get(), bench.residual(), bench.shadow(), nullptr},
                 std::span(&room, 1), std::span(&used, 1));
    for (const int64_t i : bound.selected()) next.get()[i] = 0;
  });
}

}  // namespace

void bench_topk(CommBench& bench) {
  bench.fill([](int64_t i) { return laplace(i, 1); }, [](int64_t i) { return laplace(i, 2); });
  const Bucket bucket = layer_bucket(bench.size());
  std::vector<Range> ranges;
  for (const Segment& s : bucket.segments) ranges.push_back({s.offset, s.offset + s.size});
  std::vector<int64_t> k;
  for (const Range range : ranges) k.push_back(topk_count(0.001, range.size()));
  TopKSelector selector(ranges, k, {});
  bench.measure("select.topk", [&] { selector.run({.message = bench.message()}, k); });
  const auto bound = make_topk_codec()->bind(bucket, {{0, bench.size()}});
  bench.measure_codec("topk", *bound);
  bench_dgc(bench, *bound);
}

}  // namespace terse
