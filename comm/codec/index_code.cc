#include "comm/codec/index_code.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace terse {
namespace {

int64_t gap_bytes(uint32_t gap) {
  return (static_cast<int64_t>(std::bit_width(gap | 1u)) + 6) / 7;
}

int64_t bitmap_bytes(int64_t size) {
  return (size + 7) / 8;
}

template <typename Visit>
void for_gaps(std::span<const int64_t> indices, Range range, Visit visit) {
  int64_t next = range.begin;
  for (const int64_t index : indices) {
    visit(static_cast<uint32_t>(index - next));
    next = index + 1;
  }
}

void write_bitmap(int64_t bytes, std::span<const int64_t> indices, int64_t begin, std::byte* out) {
  uint64_t word = 0;
  int64_t at = 0;  // bytes written
  const auto write_up_to = [&](int64_t end) {
    for (; at < end; at += 8, word = 0)
      std::memcpy(out + at, &word, static_cast<size_t>(std::min<int64_t>(8, bytes - at)));
  };
  for (const int64_t index : indices) {
    write_up_to((index - begin) / 64 * 8);
    word |= uint64_t{1} << ((index - begin) % 64);
  }
  write_up_to(bytes);
}

int64_t read_gaps(std::span<const std::byte> in, int64_t count, int64_t size, uint32_t base,
                  uint32_t* out) {
  size_t at = 0;
  int64_t next = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint64_t gap = 0;
    for (int shift = 0;; shift += 7) {
      if (at == in.size() || shift > 28) return -1;
      const auto byte = std::to_integer<uint64_t>(in[at++]);
      gap |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (byte == 0 && shift > 0) return -1;  // not the shortest form
        break;
      }
    }
    const int64_t index = next + static_cast<int64_t>(gap);
    if (index >= size) return -1;
    out[i] = base + static_cast<uint32_t>(index);
    next = index + 1;
  }
  return static_cast<int64_t>(at);
}

int64_t read_bitmap(std::span<const std::byte> in, int64_t count, int64_t size, uint32_t base,
                    uint32_t* out) {
  const int64_t bytes = bitmap_bytes(size);
  if (static_cast<int64_t>(in.size()) < bytes) return -1;
  int64_t found = 0;
  for (int64_t at = 0; at < bytes; at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, in.data() + at, static_cast<size_t>(std::min<int64_t>(8, bytes - at)));
    if (size - at * 8 < 64 && word >> (size - at * 8) != 0) return -1;
    if (found + std::popcount(word) > count) return -1;
    for (; word != 0; word &= word - 1)
      out[found++] = base + static_cast<uint32_t>(at * 8 + std::countr_zero(word));
  }
  return found == count ? bytes : -1;
}

}  // namespace

IndexCode choose_index_code(std::span<const int64_t> indices, Range range) {
  const int64_t bitmap = bitmap_bytes(range.size());
  if (bitmap < std::ssize(indices)) return {true, bitmap};  // a gap is a byte at least
  int64_t gaps = 0;
  for_gaps(indices, range, [&](uint32_t gap) { gaps += gap_bytes(gap); });
  return bitmap < gaps ? IndexCode{true, bitmap} : IndexCode{false, gaps};
}

void write_indices(const IndexCode& code, std::span<const int64_t> indices, Range range,
                   std::byte* out) {
  if (code.bitmap) return write_bitmap(code.bytes, indices, range.begin, out);
  for_gaps(indices, range, [&](uint32_t gap) {
    for (; gap >= 0x80; gap >>= 7) *out++ = static_cast<std::byte>((gap & 0x7f) | 0x80);
    *out++ = static_cast<std::byte>(gap);
  });
}

int64_t most_index_bytes(int64_t count, int64_t size) {
  // A gap of b bytes costs at least 2^(7 (b - 1)) elements: the longest code spends the elements
  // that are left over on second bytes first, then on third ones, and so on.
  count = std::min(count, size);
  int64_t left = size - count, bytes = count, most = count;
  int64_t cost = 128, below = 0;
  for (int level = 0; level < 4; ++level) {
    most = std::min(most, left / (cost - below));
    left -= most * (cost - below);
    bytes += most;
    below = cost;
    cost *= 128;
  }
  return std::min(bytes, bitmap_bytes(size));
}

int64_t read_indices(bool bitmap, std::span<const std::byte> in, int64_t count, int64_t size,
                     uint32_t base, uint32_t* out) {
  return bitmap ? read_bitmap(in, count, size, base, out) : read_gaps(in, count, size, base, out);
}

}  // namespace terse
