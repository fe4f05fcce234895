// Where one message's bits and scales lie inside its payload, whose length is a multiple of 8, so
// that messages back to back stay aligned (docs/protocol.md).
#pragma once
#include <cstdint>

#include "comm/codec/layout.h"

namespace terse {

struct OneBitPart {
  Range range;   // elements of the bucket
  Range groups;  // of the layout, that share elements with it

  int64_t scale_offset() const { return (range.size() + 63) / 64 * 8; }
  int64_t scale_end() const { return scale_offset() + groups.size() * 4; }
  int64_t payload() const { return (scale_end() + 7) / 8 * 8; }
};

}  // namespace terse
