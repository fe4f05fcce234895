// The pieces of PowerSGD (Vogels, Karimireddy, Jaggi, arXiv:1905.13727) that must come out the same
// on every rank. Factors are stored transposed: P^T [rank, rows], Q^T [rank, columns], row-major.
#pragma once
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

namespace terse {

// A warm factor across a change of rank: the rows that both have are kept (orthonormalised in
// order, they approach the singular directions, largest first), others are drawn: element k of `to`
// is shared_uniform(seed, k). `from` [old rank, columns] may be empty, to draw all.
void resize_factor(std::span<const float> from, int64_t columns, uint64_t seed,
                   std::span<float> to);
// The rank at which a matrix is sent: `wanted`, at most what it has; 0: whole. Factors that save
// less than half are not worth two rounds and an error (as torch's hook).
inline int64_t useful_rank(int64_t rows, int64_t columns, int64_t wanted) {
  const int64_t rank = std::min({wanted, rows, columns});
  return rows > 1 && 2 * rank * (rows + columns) <= rows * columns ? rank : 0;
}

// A seed from a name and two numbers, the same everywhere.
uint64_t seed_of(const std::string& name, int64_t a, int64_t b);

// Makes the rows of P^T orthonormal: Gram-Schmidt, each row twice. A row that is (almost) a
// combination of those before it, or zero, is drawn anew from `seed`, so that no direction is lost
// for good. O(rank^2 rows).
void orthonormalise(float* pt, int64_t rank, int64_t rows, uint64_t seed);

// out = P Q^T, [rows, columns].
void low_rank_product(const float* pt, const float* qt, int64_t rank, int64_t rows, int64_t columns,
                      float* out);

}  // namespace terse
