// What each choice of a codec parameter loses on a given gradient: the tables that
// solve_allocation() reads. L-GreCo takes them from the sum of about ten steps' gradients.
//
// Every error is |x - C(x)|_2 of one segment, absolute, in fp64; divided by norm() it is relative.
// x is fp32, row-major. A segment with a NaN or an infinity has infinite errors: no choice of it
// can be judged. Results depend on no number of threads. Pure functions, thread-safe. Free of
// torch.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/codec/codec.h"

namespace terse {

// |x|_2; infinite if x is not finite.
double norm(std::span<const float> x);

// What top-k leaves out: errors[i]^2 = sum of the squares of all but the kept[i] largest |x|. Exact
// for every count from two passes over x (a histogram of the upper half of the bits of |x|, then
// the elements of those bins in which a count ends): about 3 ns an element, not per choice.
// Counts are clamped to [0, x.size()].
std::vector<double> topk_errors(std::span<const float> x, std::span<const int64_t> kept);

// What any Codec loses: encodes the bucket once a parameter, given to all segments, and takes the
// norms of what its shadow keeps: by construction the real codec's error (b-bit: bits 1 to 8; but
// without residual or dead coordinates). errors[s][i] = of segment s with parameters[i]. `x` has
// bucket.size elements. Cost: one encode a parameter; memory: one bucket and one message.
std::vector<std::vector<double>> codec_errors(const Codec& codec, const Bucket& bucket,
                                              std::span<const double> parameters, const float* x);

// Bytes that a segment of rows x columns adds to a bucket's message with each parameter: its own
// message less the header. Exact for codecs of fixed size but for scale groups that a bucket cuts
// elsewhere; top-k's depend on x, so it is encoded.
std::vector<double> codec_bytes(const Codec& codec, int64_t rows, int64_t columns,
                                std::span<const double> parameters, const float* x);

struct LowRankOptions {
  int64_t oversampling = 8;
  int64_t iterations = 2;  // of subspace iteration; each reads x twice
  uint64_t seed = 1;       // of the range finder's start
};

// What rank r leaves out of x [rows, columns], r = 0 to max_rank:
//
//   errors[r]^2 = |x|^2 - sum_{i <= r} sigma_i^2
//
// with singular values from a randomized range finder (Halko, Martinsson and Tropp, SIAM Review
// 53:2, 2011, algorithm 4.4) of max_rank + oversampling columns; exact where that covers
// min(rows, columns), else sigma are lower bounds, in practice within 1 %. This is the error of the
// best approximation of each rank; PowerSGD's, one warm-started iteration a step, tends to it while
// gradients change slowly. Errors below about 1e-3 |x| are rounding; r >= min(rows, columns) is 0.
// Cost: 2 (iterations + 1) products of x with a thin matrix, in fp32 on the calling thread.
std::vector<double> low_rank_errors(std::span<const float> x, int64_t rows, int64_t columns,
                                    int64_t max_rank, const LowRankOptions& options = {});

}  // namespace terse
