// `terse bench sparse`: what a mask costs a step, as multiples of a memcpy of the fp32 weight
// [4096, 1024] on the same threads, in alternating pairs; a ratio is the median over pairs. Names:
//   sparse.mask_24, _18, _132        the mask of 2:4, 1:8, 1:32
//   sparse.mask_unstructured         of 90 % zeros, on one thread (the threshold is the matrix's)
//   sparse.blend_24                  w (m + (1 - m) beta), rounded to bf16: what the forward takes
//   sparse.refresh_24                both, as each step of 2:4 does
//   sparse.hard_gradient_24          g m, of an fp32 gradient
//   sparse.srste_24                  g + lambda (1 - m) w
// and products with N:M weights (trainer/bench/sparse/nm_products.h).
#pragma once
#include <vector>

#include "trainer/bench/core/bench_result.h"

namespace terse {

struct BenchSparseOptions {
  int threads = 2;
  bool quick = false;
};

// `value` in ns an element (wall time times threads over elements), `ratio` the time over the
// memcpy's. Changes the process's number of threads. About 10 s, quick 3 s.
std::vector<BenchResult> bench_sparse(const BenchSparseOptions& options);

}  // namespace terse
