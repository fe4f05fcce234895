// Where the elements of an N:M sparse matrix stay, as a file stores it: for each group of M columns
// either N indices of ceil(log2 M) bits, ascending, or a bitmask of M bits, whichever is smaller
// (indices where they are equal: 2:4 takes two indices of 2 bits). Rows begin at whole bytes; bits
// fill a byte from the lowest. docs/formats.md has the grammar.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sparsity/pattern.h"

namespace terse {

struct NmLayout {
  int64_t keep = 2;  // N
  int64_t of = 4;    // M
  bool bitmask = false;
  int64_t index_bits() const;
  int64_t row_bytes(int64_t columns) const;
  // "2:4 indices", "4:8 bitmask"
  std::string text() const;
};

// The smaller layout of the pattern; Error(usage) if it is not N:M with N < M.
NmLayout nm_layout(const Pattern& pattern);
// What text() made; Error(invalid_file) with `where`.
NmLayout parse_nm_layout(const std::string& text, const std::string& where);

// From the mask of a matrix (sparsity/mask.h) that keeps at most N of each group; where it keeps
// fewer, the first others fill up, so that each group has N. Error(invalid_file) that names the
// tensor where a group keeps more.
std::vector<uint8_t> pack_positions(const NmLayout& layout, const uint8_t* mask, int64_t rows,
                                    int64_t columns, const std::string& name);

// The positions inside their group of all that stays, rows x columns / M x N of them.
// Error(invalid_file) if the bytes are not what pack_positions can make.
std::vector<uint16_t> unpack_positions(const NmLayout& layout, std::span<const uint8_t> packed,
                                       int64_t rows, int64_t columns, const std::string& name);

// Those positions as a mask again.
std::vector<uint8_t> mask_of_positions(const NmLayout& layout, std::span<const uint16_t> positions,
                                       int64_t rows, int64_t columns);

// Bits above the elements' nonzero bit patterns; `width` bytes an element.
std::vector<uint8_t> mask_of_nonzero(std::span<const std::byte> elements, int64_t width,
                                     int64_t rows, int64_t columns);

}  // namespace terse
