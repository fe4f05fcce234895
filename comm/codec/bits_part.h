// Where one message's widths, codes and scales lie inside its payload, whose length is a multiple
// of 8, so that messages back to back stay aligned (docs/protocol.md, "Payload of bits").
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/bucket.h"
#include "comm/codec/kernels/philox.h"
#include "comm/codec/message.h"

namespace terse {

// The codes of one segment inside one part: words of 64 elements, aligned in the bucket.
struct BitsRun {
  Range range;
  int bits = 0;
  int64_t offset = 0;  // in the payload, bytes

  int64_t first_word() const { return range.begin / 64; }
  int64_t bytes() const { return ((range.end + 63) / 64 - first_word()) * bits * 8; }
  // Of the codes of the word that holds an element of the run.
  int64_t offset_of(int64_t element) const {
    return offset + (element / 64 - first_word()) * bits * 8;
  }
};

// Payload: the runs' widths, their codes, the groups' scales, padding.
struct BitsPart {
  Range groups;  // of the layout, that share elements with the part
  bool norm = false;
  std::vector<BitsRun> runs;
  int64_t scales = 0;  // where they begin

  int64_t width_bytes() const { return (static_cast<int64_t>(runs.size()) + 7) / 8 * 8; }
  int64_t scale_bytes() const { return norm ? 4 : 8; }
  int64_t scale_offset(int64_t group) const {
    return scales + (group - groups.begin) * scale_bytes();
  }
  int64_t scale_end() const { return scale_offset(groups.end); }
  int64_t payload() const { return (scale_end() + 7) / 8 * 8; }
  std::byte width_byte(size_t run) const {
    return static_cast<std::byte>(runs[run].bits + (norm ? 128 : 0));
  }
  const BitsRun& run_of(int64_t element) const;
};

// The segments that are not empty; bits[s] is segment s's.
std::vector<BitsRun> bits_runs(const Bucket& bucket, const std::vector<int>& bits);
// `segments`: bits_runs() of the bucket.
BitsPart cut_bits_part(std::span<const BitsRun> segments, Range range, Range groups, bool norm);

// Of the stochastic rounding of one message.
PhiloxStream bits_noise(uint64_t seed, const MessageTag& tag);

}  // namespace terse
