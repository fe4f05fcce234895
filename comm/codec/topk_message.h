// The payload of a top-k message: what lies where, and reading one without trusting it. Byte
// grammar: docs/protocol.md, "Payload of topk".
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/codec/layout.h"

namespace terse {

// How a segment is sent.
struct TopKSegment {
  Range range;
  bool dense = false;
  int64_t most = 0;  // entries, if it is not dense
};

// A segment's elements inside a part, as elements of the bucket.
struct TopKPiece {
  Range range;
  int64_t most = 0;  // entries
};

struct TopKPart {
  Range range;
  int64_t value_bytes = 4;
  std::vector<TopKPiece> sparse;
  std::vector<TopKPiece> dense;
  int64_t dense_elements = 0;
  int64_t most_entries = 0;
  int64_t most_bytes = 0;  // of the payload

  int64_t windows() const { return (range.size() + kWindow - 1) / kWindow; }
  int64_t heads_bytes() const { return static_cast<int64_t>(sparse.size()) * 4; }
  int64_t sparse_offset() const { return heads_bytes() + dense_elements * value_bytes; }
};

TopKPart cut_topk_part(std::span<const TopKSegment> segments, Range range, bool bf16_values);

// A sparse piece's head: the number of its entries and how their indices are written.
struct TopKHead {
  int64_t count = 0;
  bool bitmap = false;
};
void write_head(std::byte* payload, size_t piece, TopKHead head);
TopKHead read_head(const std::byte* payload, size_t piece);

// What was selected: ascending coordinates of the bucket, and x there.
struct TopKEntries {
  std::span<const int64_t> indices;
  std::span<const float> values;

  // Takes those before element `end` off the front.
  TopKEntries take(int64_t end);
};

// Heads, values and indices of a part's entries and zeros up to a multiple of 8; returns the
// payload's length. What is sent whole is write_topk_dense()'s.
int64_t write_topk_entries(const TopKPart& part, const TopKEntries& entries, std::byte* payload);
// The values of one piece that is sent whole. `in` begins at the piece's first element, but for the
// mask, which is the bucket's.
void write_topk_dense(Range piece, const EncodeInput& in, bool bf16, std::byte* values);

// One message, checked: entries ascend and lie inside the part.
struct TopKSource {
  const std::byte* dense = nullptr;
  const std::byte* values = nullptr;
  const uint32_t* indices = nullptr;  // of the part
  const uint32_t* first = nullptr;    // first[w]: the first entry from window w (4,096) on
  int64_t count = 0;
};

// Fills `source`; `indices` has room for part.most_entries, `first` for windows + 1. Null if the
// payload is what the part announces, else what is wrong with it.
const char* read_topk_payload(const TopKPart& part, std::span<const std::byte> payload,
                              uint32_t* indices, uint32_t* first, TopKSource& source);

// The same of a whole message; Error(disagree) if it is not what tag and part announce.
TopKSource read_topk_message(const TopKPart& part, const MessageTag& tag,
                             std::span<const std::byte> message, uint32_t* indices,
                             uint32_t* first);
// Values [0, count) as fp32.
void read_topk_values(const std::byte* values, int64_t count, int64_t value_bytes, float* out);

// out = factor * (sources[0] + sources[1] + ...) in this order.
void sum_topk_sources(const TopKPart& part, std::span<const TopKSource> sources, float factor,
                      const uint64_t* live, float* out);

}  // namespace terse
