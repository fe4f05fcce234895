// How ascending indices are written: as gaps in variable length or as a bitmap, whichever is
// shorter. Byte grammar: docs/protocol.md, "Payload of topk". Plain functions, no state.
//
//   gaps    index - previous - 1 (the first: index - begin) in LEB128: 7 bits a byte, least
//           significant first, bit 7 = another byte follows; the shortest form only
//   bitmap  bit i % 8 (least significant first) of byte i / 8 = element begin + i is there
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "comm/bucket.h"

namespace terse {

struct IndexCode {
  bool bitmap = false;
  int64_t bytes = 0;
};

// The shorter code of `indices`, ascending and inside `range` (fewer than 2^31 elements).
IndexCode choose_index_code(std::span<const int64_t> indices, Range range);
// Writes it; `out` has room for code.bytes.
void write_indices(const IndexCode& code, std::span<const int64_t> indices, Range range,
                   std::byte* out);
// The most that `count` or fewer indices among `size` elements can take.
int64_t most_index_bytes(int64_t count, int64_t size);

// Reads exactly `count` indices of [0, size) and writes them plus `base`; returns the bytes read,
// or -1 if `in` does not begin with such a code. Never reads outside `in`.
int64_t read_indices(bool bitmap, std::span<const std::byte> in, int64_t count, int64_t size,
                     uint32_t base, uint32_t* out);

}  // namespace terse
