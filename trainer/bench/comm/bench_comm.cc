#include "trainer/bench/comm/bench_comm.h"

#include <omp.h>

#include "comm/codec/bits.h"
#include "comm/codec/dense_arrays.h"
#include "comm/codec/onebit.h"
#include "trainer/bench/comm/comm_bench.h"

namespace terse {
namespace {

void bench_codec(CommBench& bench, const std::string& name, const Codec& codec) {
  bench.measure_codec(name, *codec.bind(layer_bucket(bench.size()), {{0, bench.size()}}));
}

void bench_bf16(CommBench& bench) {
  const Buffer<uint16_t> half(bench.size());
  bench.measure("encode.bf16",
                [&] { to_bf16(bench.message(), nullptr, bench.size(), half.get(), nullptr); });
  bench.measure("decode.bf16", [&] { from_bf16(half.get(), bench.size(), bench.shadow()); });
}

}  // namespace

std::vector<BenchResult> bench_comm(const BenchCommOptions& options) {
  omp_set_num_threads(options.threads);
  CommBench bench(options);
  bench.fill([](int64_t i) { return static_cast<float>(i * 2654435761 % 2001 - 1000) * 1e-3f; },
             [](int64_t i) { return static_cast<float>(i * 40503 % 1999 - 999) * 1e-3f; });
  bench_codec(bench, "onebit", *make_onebit_codec({.block = 4096}));
  bench_codec(bench, "onebit_layer", *make_onebit_codec());
  bench_codec(bench, "int4", *make_bits_codec());
  bench_codec(bench, "int8", *make_bits_codec({.bits = 8}));
  bench_bf16(bench);
  bench_topk(bench);
  bench_allocation(bench);
  return bench.results();
}

}  // namespace terse
