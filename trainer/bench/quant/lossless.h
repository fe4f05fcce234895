// Lossless bytes of bf16 weights (export/byte_planes.h) against memcpy. One stream is coded by one
// thread: figures are a core's.
//   quant.planes_encode, quant.planes_decode   ns an element; baseline memcpy on all threads
#pragma once
#include <vector>

#include "trainer/bench/core/bench_result.h"

namespace terse {

std::vector<BenchResult> bench_lossless(bool quick);

}  // namespace terse
