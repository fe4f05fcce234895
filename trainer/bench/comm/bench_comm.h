// `terse bench comm`: codecs as multiples of a memcpy of the same fp32 buffer on the same threads,
// in alternating pairs; a ratio is the median over pairs. Names:
//   encode.onebit        with residual, one scale per 4,096 elements
//   encode.onebit_layer  with residual, one scale per layer of 1,048,576
//   decode.onebit, decode.onebit_layer
//   encode.bf16, decode.bf16
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
// number of threads. About 10 s, quick 3 s; 500 MB of memory.
std::vector<BenchResult> bench_comm(const BenchCommOptions& options);

}  // namespace terse
