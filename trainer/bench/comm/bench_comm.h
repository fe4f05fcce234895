// `terse bench comm`: codecs as multiples of a memcpy of the same fp32 buffer on the same threads,
// in alternating pairs; a ratio is the median over pairs. Names:
//   encode.onebit        with residual, one scale per 4,096 elements
//   encode.onebit_layer  with residual, one scale per layer of 1,048,576
//   encode.int4          with residual, codec bits: max-min, nearest, a grid per 512 elements
//   encode.int8          the same with 8 bits
//   decode.onebit, decode.onebit_layer, decode.int4, decode.int8
//   encode.bf16, decode.bf16
//   select.topk          exact top-k at 0.1 % of layers of 1,048,576, without residual
//   encode.topk          the same with residual and shadow, into a message
//   decode.topk          of one message
//   step.dgc             u = 0.9 u + g, encode.topk of u with the accumulated v as residual,
//                        both masked where entries were sent
//   solve.lgreco         the allocation of 150 segments, 10 choices; its value is in ms
#pragma once
#include <cstdint>
#include <vector>

#include "trainer/bench/core/bench_result.h"

namespace terse {

struct BenchCommOptions {
  int threads = 2;
  bool quick = false;
  int64_t elements = 25'165'824;
};

// `value` in GB/s of fp32 elements, `ratio` the time over the memcpy's. Changes the process's
// number of threads. About 20 s, quick 7 s; 1 GB of memory.
std::vector<BenchResult> bench_comm(const BenchCommOptions& options);

}  // namespace terse
