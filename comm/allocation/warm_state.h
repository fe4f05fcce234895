// PowerSGD's warm start (Vogels, Karimireddy and Jaggi, arXiv:1905.13727) across a change of rank.
//
// The factor Q [columns, rank] of the last step, row-major fp32, is where the next step's iteration
// starts. When a segment's rank changes, the columns that both ranks have are kept: orthonormalized
// in order, they approach the singular directions, largest first. New columns are random, and the
// same on every rank: drawn from (seed, step, layer), element by element, with integers and exact
// fp32 arithmetic alone. Their length does not matter, P is orthonormalized before use. The
// residual does not depend on the rank and stays as it is.
#pragma once
#include <cstdint>
#include <span>

namespace terse {

struct WarmDraw {
  uint64_t seed = 0;
  int64_t step = 0;   // of the change
  int64_t layer = 0;  // any number that tells segments apart, the same on every rank
};

// Writes `to` [columns, to_rank] from `from` [columns, from_rank]; from_rank = 0 draws all of it.
// The spans may not overlap.
void resize_warm_factor(std::span<const float> from, int64_t columns, int64_t from_rank,
                        int64_t to_rank, const WarmDraw& draw, std::span<float> to);

}  // namespace terse
