// Lossless bytes of bf16 weights (export/byte_planes.h) against memcpy, both on all threads.
//   quant.planes_encode, quant.planes_decode   ns an element, wall time over elements
#pragma once
#include <vector>

#include "trainer/bench/core/bench_result.h"

namespace terse {

std::vector<BenchResult> bench_lossless(bool quick);

}  // namespace terse
