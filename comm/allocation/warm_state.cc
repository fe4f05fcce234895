#include "comm/allocation/warm_state.h"

#include <algorithm>

#include "base/error.h"
#include "comm/allocation/shared_random.h"

namespace terse {

void resize_warm_factor(std::span<const float> from, int64_t columns, int64_t from_rank,
                        int64_t to_rank, const WarmDraw& draw, std::span<float> to) {
  TERSE_CHECK(columns >= 0 && from_rank >= 0 && to_rank >= 0 &&
                  static_cast<int64_t>(from.size()) == columns * from_rank &&
                  static_cast<int64_t>(to.size()) == columns * to_rank,
              "{} columns, rank {} to {}: {} and {} elements", columns, from_rank, to_rank,
              from.size(), to.size());
  const uint64_t stream =
      mix(mix(draw.seed + static_cast<uint64_t>(draw.step)) + static_cast<uint64_t>(draw.layer));
  const int64_t kept = std::min(from_rank, to_rank);
  for (int64_t row = 0; row < columns; ++row) {
    float* out = to.data() + row * to_rank;
    std::copy_n(from.data() + row * from_rank, kept, out);
    for (int64_t r = kept; r < to_rank; ++r)
      out[r] = shared_normal(stream, static_cast<uint64_t>(r * columns + row));
  }
}

}  // namespace terse
