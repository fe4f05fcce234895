#include "comm/codec/device_selector.h"

#include <algorithm>
#include <numeric>

#include "comm/codec/topk_plan.h"

namespace terse::cuda {
namespace {

std::vector<TopKTile> tiles_of(std::span<const Range> ranges) {
  std::vector<TopKTile> tiles;
  for (size_t s = 0; s < ranges.size(); ++s) {
    const auto first = static_cast<int64_t>(tiles.size());
    for (int64_t at = ranges[s].begin; at < ranges[s].end; at = tiles.back().end)
      tiles.push_back(
          {at, std::min(at + topk_tile_elements(), ranges[s].end), static_cast<int64_t>(s), first});
  }
  return tiles;
}

constexpr size_t kBins = 2048;  // a segment

}  // namespace

DeviceSelector::DeviceSelector(std::span<const Range> ranges, std::span<const int64_t> most_k,
                               int64_t size, bool bf16)
    : size_(size),
      bf16_(bf16),
      most_(std::accumulate(most_k.begin(), most_k.end(), int64_t{0})),
      tiles_(tiles_of(ranges)),
      states_(ranges.size()),
      indices_(static_cast<size_t>(most_)),
      values_(static_cast<size_t>(most_)),
      total_(1),
      tile_(tiles_),
      state_(ranges.size()),
      bins_(kBins * ranges.size()),
      counts_(tiles_.size()),
      chosen_(static_cast<size_t>(most_)),
      chosen_values_(static_cast<size_t>(most_)),
      chosen_total_(1) {
  TERSE_CHECK(size < int64_t{1} << 31, "{} elements", size);
}

void DeviceSelector::run(const EncodeInput& in, std::span<const int64_t> k, void* stream) {
  const auto most = static_cast<size_t>(most_);
  float* shadow =
      in.shadow != nullptr ? in.shadow : own_shadow_.reserve(static_cast<size_t>(size_));
  for (size_t s = 0; s < k.size(); ++s)
    states_.data()[s] = {
        .left = k[s], .threshold = 0, .least = bf16_ ? uint32_t{kLeastBf16} : 1u, .all = false};
  copy(state_.data(), states_.data(), k.size(), stream);
  const TopKScratch scratch{.tiles = tile_.data(),
                            .tile_count = static_cast<int64_t>(tiles_.size()),
                            .states = state_.data(),
                            .segment_count = static_cast<int64_t>(k.size()),
                            .bins = bins_.data(),
                            .counts = counts_.data()};
  check(topk_select({in.message, in.residual, shadow, in.live}, size_, bf16_, scratch,
                    chosen_.data(), chosen_values_.data(), chosen_total_.data(), stream),
        "top-k selection");
  // All that there is room for, so that the number need not come first: it is nearly always full.
  copy(indices_.data(), chosen_.data(), most, stream);
  copy(values_.data(), chosen_values_.data(), most, stream);
  copy(total_.data(), chosen_total_.data(), 1, stream);
  wait_for(stream, "top-k selection");
  TERSE_CHECK(*total_.data() <= most_, "{} of {} entries", *total_.data(), most_);
}

TopKEntries DeviceSelector::entries() const {
  const auto count = static_cast<size_t>(*total_.data());
  return {{indices_.data(), count}, {values_.data(), count}};
}

}  // namespace terse::cuda
