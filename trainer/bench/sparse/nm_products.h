// The product with N:M matrices (export/nm_matrix.h) against the dense product of the same weights,
// x [512, 1024] with W [2048, 1024], on the process's threads, in alternating pairs. Names:
//   nm.product_2_4, nm.product_1_4, nm.product_4_8   fp32 sums; baseline at::mm in fp32 (oneDNN)
// `value` in billions of dense multiply-adds a second (what the dense product would need), `ratio`
// the dense product's time over ours. About 5 s, quick 1 s.
#pragma once
#include <vector>

#include "trainer/bench/core/bench_result.h"

namespace terse {

std::vector<BenchResult> bench_nm_products(bool quick);

}  // namespace terse
