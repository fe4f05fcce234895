#include "export/nm_layout.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

bool bit_at(const uint8_t* bits, int64_t i) {
  return (bits[i / 8] >> (i % 8) & 1) != 0;
}
void set_bit(uint8_t* bits, int64_t i) {
  bits[i / 8] = static_cast<uint8_t>(bits[i / 8] | 1u << (i % 8));
}

// The kept of one group, ascending, filled up to N.
void positions_of(const NmLayout& layout, const uint8_t* row, int64_t first,
                  std::vector<int64_t>& out, const std::string& name) {
  out.clear();
  for (int64_t i = 0; i < layout.of; ++i)
    if (bit_at(row, first + i)) out.push_back(i);
  const auto kept = static_cast<int64_t>(out.size());
  if (kept > layout.keep)
    fail(ExitCode::invalid_file,
         "tensor \"{}\": {} of {} columns from {} on are not zero, {}:{} keeps {}", name, kept,
         layout.of, first, layout.keep, layout.of, layout.keep);
  for (int64_t i = 0; static_cast<int64_t>(out.size()) < layout.keep; ++i)
    if (!bit_at(row, first + i)) out.push_back(i);
  std::sort(out.begin(), out.end());
}

// One row of positions; unused bits must be 0.
void unpack_row(const NmLayout& layout, const uint8_t* row, int64_t columns, uint16_t* out,
                const std::string& name) {
  const int64_t bits = layout.index_bits(), groups = columns / layout.of;
  int64_t at = 0;
  const auto bad = [&](int64_t group) {
    fail(ExitCode::invalid_file, "tensor \"{}\": group {} does not keep {} of {}", name, group,
         layout.keep, layout.of);
  };
  for (int64_t g = 0; g < groups; ++g) {
    int64_t found = 0;
    const int64_t steps = layout.bitmask ? layout.of : layout.keep;
    for (int64_t s = 0; s < steps; ++s) {
      int64_t position = s;
      if (layout.bitmask && !bit_at(row, at++)) continue;
      if (!layout.bitmask) {
        position = 0;
        for (int64_t b = 0; b < bits; ++b) position |= static_cast<int64_t>(bit_at(row, at++)) << b;
        if (position >= layout.of || (found > 0 && out[found - 1] >= position)) bad(g);
      }
      if (found == layout.keep) bad(g);
      out[found++] = static_cast<uint16_t>(position);
    }
    if (found != layout.keep) bad(g);
    out += layout.keep;
  }
  for (; at < layout.row_bytes(columns) * 8; ++at)
    if (bit_at(row, at))
      fail(ExitCode::invalid_file, "tensor \"{}\": a row's last bits are not 0", name);
}

}  // namespace

int64_t NmLayout::index_bits() const {
  return std::bit_width(static_cast<uint64_t>(of - 1));
}
int64_t NmLayout::row_bytes(int64_t columns) const {
  return (columns / of * (bitmask ? of : keep * index_bits()) + 7) / 8;
}
std::string NmLayout::text() const {
  return fmt::format("{}:{} {}", keep, of, bitmask ? "bitmask" : "indices");
}

NmLayout nm_layout(const Pattern& pattern) {
  if (pattern.unstructured() || pattern.dense())
    fail(ExitCode::usage, "{} is no N:M pattern with N < M", to_string(pattern));
  NmLayout layout{pattern.keep, pattern.of, false};
  layout.bitmask = layout.keep * layout.index_bits() > layout.of;
  return layout;
}

NmLayout parse_nm_layout(const std::string& text, const std::string& where) {
  const std::string pattern = text.substr(0, text.find(' '));
  try {
    const NmLayout layout = nm_layout(parse_pattern(pattern));
    if (layout.text() == text) return layout;
  } catch (const Error&) {  // said below
  }
  fail(ExitCode::invalid_file, "{}: \"{}\" is no layout such as \"2:4 indices\"", where, text);
}

std::vector<uint8_t> pack_positions(const NmLayout& layout, const uint8_t* mask, int64_t rows,
                                    int64_t columns, const std::string& name) {
  const int64_t stride = layout.row_bytes(columns), bits = layout.index_bits();
  std::vector<uint8_t> packed(static_cast<size_t>(rows * stride));
  std::vector<int64_t> positions;
  for (int64_t r = 0; r < rows; ++r) {
    const uint8_t* row = mask + r * mask_stride(columns);
    uint8_t* out = packed.data() + r * stride;
    int64_t at = 0;
    for (int64_t first = 0; first < columns; first += layout.of) {
      positions_of(layout, row, first, positions, name);
      for (const int64_t position : positions) {
        if (layout.bitmask) {
          set_bit(out, at + position);
          continue;
        }
        for (int64_t b = 0; b < bits; ++b, ++at)
          if ((position >> b & 1) != 0) set_bit(out, at);
      }
      if (layout.bitmask) at += layout.of;
    }
  }
  return packed;
}

std::vector<uint16_t> unpack_positions(const NmLayout& layout, std::span<const uint8_t> packed,
                                       int64_t rows, int64_t columns, const std::string& name) {
  const int64_t stride = layout.row_bytes(columns), kept = columns / layout.of * layout.keep;
  if (columns % layout.of != 0 || static_cast<int64_t>(packed.size()) != rows * stride)
    fail(ExitCode::invalid_file, "tensor \"{}\": {} bytes of positions for {} x {} at {}", name,
         packed.size(), rows, columns, layout.text());
  std::vector<uint16_t> positions(static_cast<size_t>(rows * kept));
  for (int64_t r = 0; r < rows; ++r)
    unpack_row(layout, packed.data() + r * stride, columns, positions.data() + r * kept, name);
  return positions;
}

std::vector<uint8_t> mask_of_positions(const NmLayout& layout, std::span<const uint16_t> positions,
                                       int64_t rows, int64_t columns) {
  const int64_t stride = mask_stride(columns), groups = columns / layout.of;
  std::vector<uint8_t> mask(static_cast<size_t>(rows * stride));
  size_t next = 0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t k = 0; k < layout.keep; ++k)
        set_bit(mask.data() + r * stride, g * layout.of + positions[next++]);
  return mask;
}

std::vector<uint8_t> mask_of_nonzero(std::span<const std::byte> elements, int64_t width,
                                     int64_t rows, int64_t columns) {
  const int64_t stride = mask_stride(columns);
  std::vector<uint8_t> mask(static_cast<size_t>(rows * stride));
  const std::byte* at = elements.data();
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c, at += width)
      if (std::any_of(at, at + width, [](std::byte b) { return b != std::byte{0}; }))
        set_bit(mask.data() + r * stride, c);
  return mask;
}

}  // namespace terse
