// Exact top-k: the k elements of largest magnitude of each of several ranges of a bucket, equal
// magnitudes by lowest index. Zeros are never chosen, so fewer than k are where fewer are nonzero.
//
// One pass over the data writes x = message + residual to the shadow and the largest magnitude of
// every 64 elements to a table. Any number t that k entries of the table reach is a lower bound of
// the k-th magnitude, because their words hold k different elements; t comes from a sample of the
// table and is proved by counting. Only words that reach t are read again: at 0.1 % about 1.2 k
// candidates in 7 % of the words, of which a partition (std::nth_element) takes k. Where k is more
// than a third of the table, t comes from a sample of the elements, and is lowered if too few reach
// it. The sample decides about time, never about the result.
//
// Rules:
//   exact      the k largest
//   sampled    all that reach t, if they are at most 1.3 k, else the k largest of them (Lin et al.,
//              arXiv:1712.01887, 3.1, whose count may also fall short): never fewer than k
//   threshold  all of at least a given magnitude
//
// Results depend neither on threads nor on the instruction set. No allocation in run(). Memory: 4
// bytes per 64 elements; 16 bytes per candidate are reserved and touched only where they are used.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/codec/codec.h"

namespace terse {

enum class SelectRule : uint8_t { exact, sampled, threshold };

struct SelectOptions {
  SelectRule rule = SelectRule::exact;
  float threshold = 0;  // of rule threshold
  int32_t least = 1;    // magnitude bits below which nothing is chosen
};

// The largest number that a range of `size` elements can have chosen.
int64_t most_selected(SelectRule rule, int64_t k, int64_t size);

class TopKSelector {
 public:
  // `ranges` ascend and do not overlap; most_k[s] is the largest k that run() will be given.
  TopKSelector(std::vector<Range> ranges, std::span<const int64_t> most_k,
               const SelectOptions& options);

  // in.shadow = x (0 where dead) inside the ranges, if it is given.
  void run(const EncodeInput& in, std::span<const int64_t> k);

  // What run() chose, ascending, and x there.
  std::span<const int64_t> indices() const { return {indices_.get(), static_cast<size_t>(count_)}; }
  std::span<const float> values() const { return {values_.get(), static_cast<size_t>(count_)}; }

 private:
  struct Segment {
    Range range;
    int64_t first_word = 0;  // in the table of maxima
    Range slots = {};
    int64_t k = 0;
    int attempt = 0;
    bool open = true;
    int32_t threshold = 0;  // what reaches it is a candidate
    int32_t surely = 0;     // what reaches it is probably chosen
    uint64_t cut = 0;       // keys from here on are chosen
    int64_t words() const { return (range.end + 63) / 64 - range.begin / 64; }
  };
  // A range is worked on in slots, each with room for its candidates.
  struct Slot {
    Range range;
    int64_t segment = 0;
    int64_t offset = 0;  // in keys_
    int64_t room = 0;
    int64_t count = 0;
    int64_t first = 0;  // in indices_
    bool thinned = false;
  };

  void add_slots(int64_t s, int64_t most_k);
  void scan(const EncodeInput& in);
  void propose(const EncodeInput& x, Segment& segment) const;
  void collect(const EncodeInput& x, Slot& slot);
  int32_t thin(Slot& slot);
  bool finish(Segment& segment);
  uint64_t kth_key(const Segment& segment, int64_t total);
  void emit();

  SelectOptions options_;
  std::vector<Segment> segments_;
  std::vector<Slot> slots_;
  std::unique_ptr<int32_t[]> maxima_;
  std::unique_ptr<uint64_t[]> keys_;
  std::unique_ptr<uint64_t[]> scratch_;  // where a range's keys are partitioned
  std::unique_ptr<int64_t[]> indices_;
  std::unique_ptr<float[]> values_;
  int64_t count_ = 0;
};

}  // namespace terse
