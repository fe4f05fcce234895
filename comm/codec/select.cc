#include "comm/codec/select.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>

#include "base/error.h"
#include "base/isa.h"
#include "comm/codec/kernels/fence.h"
#include "comm/codec/kernels/topk_kernels.h"

namespace terse {
namespace {

constexpr int64_t kSlot = int64_t{1}
                          << 17;  // elements: half a megabyte, so that threads share well
constexpr int64_t kSample = 2048;
constexpr int kAttempts = 3;  // then everything is a candidate

int32_t magnitude_of(uint64_t key) {
  return static_cast<int32_t>(key >> 32);
}

int64_t index_of(uint64_t key) {
  return 0x7fffffff - static_cast<int64_t>(key >> 1 & 0x7fffffff);
}

float value_of(uint64_t key) {
  return std::bit_cast<float>(static_cast<uint32_t>(key >> 32) | static_cast<uint32_t>(key & 1)
                                                                     << 31);
}

CodecArrays arrays(const EncodeInput& in) {
  return {in.message, in.residual, in.shadow, in.live};
}

int32_t magnitude_at(const EncodeInput& x, int64_t i) {
  if (x.live != nullptr && (x.live[i / 64] >> (i % 64) & 1) == 0) return 0;
  float value = x.message[i];
  if (x.residual != nullptr) value += x.residual[i];
  return std::bit_cast<int32_t>(value) & 0x7fffffff;
}

struct Bracket {
  int32_t low = 0;
  int32_t high = 0x7fffffff;
};

// Numbers that about k of at(0), ..., at(count - 1) reach: `low` by probably more, `high` by
// probably fewer. Evenly spread places with a jitter, so that no period of the data is met.
template <typename At>
Bracket sample_quantile(const At& at, int64_t count, int64_t k, int attempt) {
  int32_t sample[kSample];
  const int64_t taken = std::min(count, kSample);
  uint64_t state = 0x9e3779b97f4a7c15u;
  for (int64_t j = 0; j < taken; ++j) {
    const int64_t begin = j * count / taken, end = (j + 1) * count / taken;
    state = state * 6364136223846793005u + 1442695040888963407u;
    sample[j] =
        at(begin + static_cast<int64_t>((state >> 33) % static_cast<uint64_t>(end - begin)));
  }
  const double expected =
      static_cast<double>(k) * static_cast<double>(taken) / static_cast<double>(count);
  const double margin = taken == count ? 0 : (3 * std::sqrt(expected) + 2) * (1 << 2 * attempt);
  const auto rank = static_cast<int64_t>(std::ceil(expected + margin));
  if (rank > taken) return {};
  std::nth_element(sample, sample + (rank - 1), sample + taken, std::greater<>());
  Bracket bracket{sample[rank - 1], 0x7fffffff};
  const auto fewer = static_cast<int64_t>(expected - margin);
  if (margin > 0 && fewer >= 1) {
    std::nth_element(sample, sample + (fewer - 1), sample + (rank - 1), std::greater<>());
    bracket.high = sample[fewer - 1];
  }
  return bracket;
}

template <typename T>
std::unique_ptr<T[]> room_for(int64_t n) {
  return std::make_unique_for_overwrite<T[]>(static_cast<size_t>(n));
}

}  // namespace

int64_t most_selected(SelectRule rule, int64_t k, int64_t size) {
  if (rule == SelectRule::threshold) return size;
  return std::min(size, rule == SelectRule::sampled ? k + k * 3 / 10 : k);
}

TopKSelector::TopKSelector(std::vector<Range> ranges, std::span<const int64_t> most_k,
                           const SelectOptions& options)
    : options_(options) {
  int64_t words = 0, chosen = 0, before = 0;
  for (size_t s = 0; s < ranges.size(); ++s) {
    TERSE_CHECK(ranges[s].begin >= before && ranges[s].size() > 0, "range {}", s);
    before = ranges[s].end;
    segments_.push_back({.range = ranges[s], .first_word = words});
    words += segments_.back().words();
    chosen += most_selected(options.rule, most_k[s], ranges[s].size());
    add_slots(static_cast<int64_t>(s), most_k[s]);
  }
  TERSE_CHECK(before < int64_t{1} << 31, "{} elements do not fit a key", before);
  const int64_t keys = slots_.empty() ? 0 : slots_.back().offset + slots_.back().room;
  maxima_ = room_for<int32_t>(words);
  keys_ = room_for<uint64_t>(keys);
  scratch_ = room_for<uint64_t>(keys);
  indices_ = room_for<int64_t>(chosen);
  values_ = room_for<float>(chosen);
}

void TopKSelector::add_slots(int64_t s, int64_t most_k) {
  Segment& segment = segments_[static_cast<size_t>(s)];
  segment.slots.begin = static_cast<int64_t>(slots_.size());
  for (int64_t at = segment.range.begin; at < segment.range.end;) {
    const int64_t stop = std::min(segment.range.end, (at / kSlot + 1) * kSlot);
    const int64_t share = most_k * (stop - at) / segment.range.size();
    // One slot may hold all k; when it is full, it keeps its k largest.
    const int64_t room = options_.rule == SelectRule::threshold
                             ? stop - at
                             : std::min(stop - at, most_k + 2 * share + 1024);
    const int64_t offset = slots_.empty() ? 0 : slots_.back().offset + slots_.back().room;
    slots_.push_back({.range = {at, stop}, .segment = s, .offset = offset, .room = room + 64});
    at = stop;
  }
  segment.slots.end = static_cast<int64_t>(slots_.size());
}

void TopKSelector::run(const EncodeInput& in, std::span<const int64_t> k) {
  TERSE_CHECK(k.size() == segments_.size(), "{} counts for {} ranges", k.size(), segments_.size());
  for (size_t s = 0; s < segments_.size(); ++s) {
    segments_[s].k = k[s];
    segments_[s].attempt = 0;
    // Nothing to choose, as where all elements are dead, has no threshold to look for.
    segments_[s].open = k[s] > 0 || options_.rule == SelectRule::threshold;
    segments_[s].cut = ~uint64_t{0};
  }
  scan(in);
  // From here on x is read from the shadow, whose dead elements are zero.
  const EncodeInput x = in.shadow == nullptr ? in : EncodeInput{.message = in.shadow};
  const auto segments = static_cast<int64_t>(segments_.size());
  const auto slots = static_cast<int64_t>(slots_.size());
  bool again = true;
  while (again) {
    again = false;
#pragma omp parallel if (slots > 1)
    {
#pragma omp for schedule(dynamic)
      for (int64_t s = 0; s < segments; ++s) propose(x, segments_[static_cast<size_t>(s)]);
#pragma omp for schedule(dynamic)
      for (int64_t i = 0; i < slots; ++i) collect(x, slots_[static_cast<size_t>(i)]);
#pragma omp for schedule(dynamic) reduction(|| : again)
      for (int64_t s = 0; s < segments; ++s)
        again = !finish(segments_[static_cast<size_t>(s)]) || again;
    }
  }
  emit();
}

void TopKSelector::scan(const EncodeInput& in) {
  const CodecArrays a = arrays(in);
#pragma omp parallel if (slots_.size() > 1)
  {
#pragma omp for schedule(dynamic)
    for (const Slot& slot : slots_) {
      const Segment& segment = segments_[static_cast<size_t>(slot.segment)];
      int32_t* maxima =
          maxima_.get() + segment.first_word + (slot.range.begin / 64 - segment.range.begin / 64);
      TERSE_DISPATCH(topk_scan(a, slot.range.begin, slot.range.end, maxima));
    }
    TERSE_DISPATCH(codec_fence());
  }
}

void TopKSelector::propose(const EncodeInput& x, Segment& segment) const {
  if (!segment.open) return;
  if (options_.rule == SelectRule::threshold) {
    const int32_t given = std::bit_cast<int32_t>(options_.threshold) & 0x7fffffff;
    segment.threshold = std::max(options_.least, given);
    return;
  }
  const int32_t* maxima = maxima_.get() + segment.first_word;
  const int64_t words = segment.words();
  // Words are shared by neighbours at both ends, but their maxima are not.
  const bool by_words = segment.k <= words / 3;
  for (;; ++segment.attempt) {
    Bracket bracket;
    if (segment.attempt < kAttempts)
      bracket = by_words ? sample_quantile([&](int64_t i) { return maxima[i]; }, words, segment.k,
                                           segment.attempt)
                         : sample_quantile(
                               [&](int64_t i) { return magnitude_at(x, segment.range.begin + i); },
                               segment.range.size(), segment.k, segment.attempt);
    segment.threshold = std::max(bracket.low, options_.least);
    segment.surely = bracket.high;
    if (!by_words || segment.threshold == options_.least) return;
    int64_t reach = 0;
    for (int64_t w = 0; w < words; ++w) reach += maxima[w] >= segment.threshold ? 1 : 0;
    if (reach >= segment.k) return;
  }
}

void TopKSelector::collect(const EncodeInput& x, Slot& slot) {
  const Segment& segment = segments_[static_cast<size_t>(slot.segment)];
  if (!segment.open) return;
  slot.count = 0;
  slot.thinned = false;
  int32_t threshold = segment.threshold;
  for (int64_t at = slot.range.begin;;) {
    const int32_t* maxima =
        maxima_.get() + segment.first_word + (at / 64 - segment.range.begin / 64);
    at = TERSE_DISPATCH(topk_collect(arrays(x), at, slot.range.end, maxima, threshold,
                                     keys_.get() + slot.offset, slot.room, &slot.count));
    if (at == slot.range.end) return;
    threshold = thin(slot);
  }
}

// Keeps the k largest of a slot that is full; returns the threshold of what may still join them:
// later elements lose ties.
int32_t TopKSelector::thin(Slot& slot) {
  const int64_t k = segments_[static_cast<size_t>(slot.segment)].k;
  uint64_t* keys = keys_.get() + slot.offset;
  uint64_t* scratch = scratch_.get() + slot.offset;
  std::copy_n(keys, slot.count, scratch);
  std::nth_element(scratch, scratch + (k - 1), scratch + slot.count, std::greater<>());
  const uint64_t cut = scratch[k - 1];
  slot.count =
      std::remove_if(keys, keys + slot.count, [&](uint64_t key) { return key < cut; }) - keys;
  slot.thinned = true;
  return magnitude_of(cut) + 1;
}

// False if too few elements reached the threshold: then with a lower one again.
bool TopKSelector::finish(Segment& segment) {
  if (!segment.open) return true;
  int64_t total = 0;
  bool thinned = false;
  for (int64_t i = segment.slots.begin; i < segment.slots.end; ++i) {
    total += slots_[static_cast<size_t>(i)].count;
    thinned |= slots_[static_cast<size_t>(i)].thinned;
  }
  const bool by_threshold = options_.rule == SelectRule::threshold;
  if (!by_threshold && total < segment.k && segment.threshold > options_.least) {
    ++segment.attempt;
    return false;
  }
  const bool all =
      by_threshold || (!thinned && total <= most_selected(options_.rule, segment.k, total));
  segment.cut = all ? 0 : kth_key(segment, total);
  segment.open = false;
  return true;
}

uint64_t TopKSelector::kth_key(const Segment& segment, int64_t total) {
  if (total <= segment.k) return 0;
  uint64_t* scratch = scratch_.get() + slots_[static_cast<size_t>(segment.slots.begin)].offset;
  // Keys that are surely chosen need not be partitioned, unless there are more of them than k.
  for (uint64_t high = static_cast<uint64_t>(segment.surely) << 32;; high = ~uint64_t{0}) {
    int64_t above = 0, rest = 0;
    for (int64_t i = segment.slots.begin; i < segment.slots.end; ++i) {
      const Slot& slot = slots_[static_cast<size_t>(i)];
      const uint64_t* keys = keys_.get() + slot.offset;
      for (int64_t j = 0; j < slot.count; ++j) {
        scratch[rest] = keys[j];
        const bool surely = keys[j] >= high;
        above += surely ? 1 : 0;
        rest += surely ? 0 : 1;
      }
    }
    if (above >= segment.k) continue;
    uint64_t* kth = scratch + (segment.k - above - 1);
    std::nth_element(scratch, kth, scratch + rest, std::greater<>());
    return *kth;
  }
}

void TopKSelector::emit() {
  const auto slots = static_cast<int64_t>(slots_.size());
#pragma omp parallel for schedule(dynamic) if (slots > 1)
  for (int64_t i = 0; i < slots; ++i) {
    Slot& slot = slots_[static_cast<size_t>(i)];
    const uint64_t cut = segments_[static_cast<size_t>(slot.segment)].cut;
    uint64_t* keys = keys_.get() + slot.offset;
    slot.count =
        std::remove_if(keys, keys + slot.count, [&](uint64_t key) { return key < cut; }) - keys;
  }
  count_ = 0;
  for (Slot& slot : slots_) {
    slot.first = count_;
    count_ += slot.count;
  }
#pragma omp parallel for schedule(dynamic) if (slots > 1)
  for (int64_t i = 0; i < slots; ++i) {
    const Slot& slot = slots_[static_cast<size_t>(i)];
    const uint64_t* keys = keys_.get() + slot.offset;
    for (int64_t j = 0; j < slot.count; ++j) {
      indices_[static_cast<size_t>(slot.first + j)] = index_of(keys[j]);
      values_[static_cast<size_t>(slot.first + j)] = value_of(keys[j]);
    }
  }
}

}  // namespace terse
