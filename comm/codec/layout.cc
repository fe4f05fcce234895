#include "comm/codec/layout.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace terse {
namespace {
constexpr int64_t kStepWindows = 256;  // 4 MiB of fp32: with its residual 8 MiB, an L3's share
}

Layout::Layout(const Bucket& bucket, int64_t block) : size_(bucket.size) {
  TERSE_CHECK(block == 0 || (block >= 64 && std::has_single_bit(static_cast<uint64_t>(block))),
              "block of {}", block);
  cut_groups(bucket, block);
  cut_pieces();
  plan_steps();
}

void Layout::cut_groups(const Bucket& bucket, int64_t block) {
  int64_t at = 0;
  for (const Segment& segment : bucket.segments) {
    TERSE_CHECK(segment.offset == at && segment.size >= 0, "segment {} at {}", segment.name,
                segment.offset);
    const int64_t end = at + segment.size;
    while (at < end) {
      const int64_t stop = block == 0 ? end : std::min(end, (at / block + 1) * block);
      groups_.push_back({at, stop});
      at = stop;
    }
  }
  TERSE_CHECK(at == size_, "segments of bucket {} cover {} of {}", bucket.index, at, size_);
}

void Layout::cut_pieces() {
  const int64_t windows = (size_ + kWindow - 1) / kWindow;
  closed_.assign(static_cast<size_t>(windows), true);
  int64_t group = 0;
  for (int64_t w = 0; w < windows; ++w) {
    first_piece_.push_back(static_cast<int64_t>(pieces_.size()));
    int64_t at = w * kWindow;
    const int64_t end = std::min(size_, at + kWindow);
    while (at < end) {
      const Range range = groups_[static_cast<size_t>(group)];
      const int64_t stop = std::min(end, range.end);
      const bool whole = at == range.begin && stop == range.end;
      if (!whole) closed_[static_cast<size_t>(w)] = false;
      if (at == range.begin) first_piece_of_group_.push_back(static_cast<int64_t>(pieces_.size()));
      pieces_.push_back({at, stop, group, whole});
      at = stop;
      if (stop == range.end) ++group;
    }
  }
  first_piece_.push_back(static_cast<int64_t>(pieces_.size()));
  first_piece_of_group_.push_back(static_cast<int64_t>(pieces_.size()));
}

void Layout::plan_steps() {
  const int64_t count = windows();
  const auto last_window_of = [&](int64_t w) {  // where the window's last group ends
    const Piece& piece = pieces_[static_cast<size_t>(pieces_of_window(w).end - 1)];
    return (group(piece.group).end - 1) / kWindow;
  };
  int64_t summed = 0, packed = 0, group_done = 0;
  while (packed < count) {
    const int64_t least =
        std::max(last_window_of(packed) + 1, std::min(count, packed + kStepWindows));
    int64_t sum_end = std::max(summed, least);
    while (sum_end < count && closed(sum_end)) ++sum_end;
    int64_t pack_end = packed;
    while (pack_end < sum_end && last_window_of(pack_end) < sum_end) ++pack_end;
    int64_t group_end = group_done;
    while (group_end < groups() && group(group_end).end <= sum_end * kWindow) ++group_end;
    if (sum_end == count) group_end = groups();
    steps_.push_back({{summed, sum_end}, {group_done, group_end}, {packed, pack_end}});
    summed = sum_end;
    packed = pack_end;
    group_done = group_end;
  }
}

Range Layout::pieces_of_window(int64_t w) const {
  return {first_piece_[static_cast<size_t>(w)], first_piece_[static_cast<size_t>(w) + 1]};
}

Range Layout::pieces_of_group(int64_t g) const {
  return {first_piece_of_group_[static_cast<size_t>(g)],
          first_piece_of_group_[static_cast<size_t>(g) + 1]};
}

Range Layout::groups_of(Range range) const {
  if (range.size() <= 0) return {};
  const auto ends_after = [](int64_t at, const Range& g) { return at < g.end; };
  const auto first = std::upper_bound(groups_.begin(), groups_.end(), range.begin, ends_after);
  const auto last = std::upper_bound(groups_.begin(), groups_.end(), range.end - 1, ends_after);
  return {first - groups_.begin(), last - groups_.begin() + 1};
}

}  // namespace terse
