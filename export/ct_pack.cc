#include "export/ct_pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "export/parallel_rows.h"

namespace terse {
namespace {

constexpr uint64_t kBytes = 0x0101010101010101u;

// Eight bytes of `bits` bits each, pushed together: pairs, then pairs of pairs, then both halves.
class Squeeze {
 public:
  explicit Squeeze(int bits) : bits_(bits) {
    const uint64_t one = (uint64_t{1} << bits) - 1;
    const uint64_t two = (uint64_t{1} << (2 * bits)) - 1;
    low_[0] = one * 0x0001000100010001u;
    low_[1] = two * 0x0000000100000001u;
    low_[2] = (uint64_t{1} << (4 * bits)) - 1;
    code_ = one * kBytes;
    sign_ = (uint64_t{1} << (bits - 1)) * kBytes;
  }

  uint64_t operator()(uint64_t codes) const {
    uint64_t x = (codes & code_) ^ sign_;  // code + 2^(bits-1), in `bits` bits
    x = (x & low_[0]) | ((x >> (8 - bits_)) & (low_[0] << bits_));
    x = (x & low_[1]) | ((x >> (16 - 2 * bits_)) & (low_[1] << (2 * bits_)));
    return (x & low_[2]) | ((x >> (32 - 4 * bits_)) & ~low_[2]);
  }

 private:
  int bits_;
  uint64_t code_, sign_;
  std::array<uint64_t, 3> low_;
};

// `to` has room for eight bytes behind the row.
void pack_row(const Squeeze& squeeze, const int8_t* from, int64_t columns, int bits,
              std::byte* to) {
  int64_t c = 0;
  for (; c + 8 <= columns; c += 8, to += bits) {
    uint64_t eight;
    std::memcpy(&eight, from + c, sizeof eight);
    const uint64_t packed = squeeze(eight);
    std::memcpy(to, &packed, sizeof packed);  // the bytes beyond are overwritten next
  }
  if (c == columns) return;
  uint64_t last = 0;
  std::memcpy(&last, from + c, static_cast<size_t>(columns - c));
  // Columns that are not there would be 2^(bits-1).
  last = squeeze(last) & ((uint64_t{1} << ((columns - c) * bits)) - 1);
  std::memcpy(to, &last, sizeof last);
}

constexpr std::array<uint8_t, 13> kMagnitudes = {0, 1, 2, 3, 4, 0, 5, 0, 6, 0, 0, 0, 7};

// By code as unsigned byte.
std::array<uint8_t, 256> make_nibbles() {
  std::array<uint8_t, 256> table = {};
  for (int code = -12; code <= 12; ++code) {
    const int index = kMagnitudes[static_cast<size_t>(std::abs(code))];
    table[static_cast<uint8_t>(code)] = static_cast<uint8_t>(index | (code < 0 ? 8 : 0));
  }
  return table;
}

}  // namespace

void ct_pack_rows(const int8_t* codes, int64_t rows, int64_t columns, int bits,
                  std::vector<std::byte>& out) {
  TERSE_CHECK(bits >= 1 && bits <= 8, "{} bits", bits);
  const Squeeze squeeze(bits);
  const auto row_bytes = static_cast<size_t>(4 * ct_words(columns, bits));
  const size_t start = out.size();
  out.resize(start + static_cast<size_t>(rows) * row_bytes);
  each_row(rows, columns, [&](int64_t r) {
    // Whole words are stored, also the last: not where another thread writes the next row.
    static thread_local std::vector<std::byte> row;
    row.assign(row_bytes + sizeof(uint64_t), std::byte{0});
    pack_row(squeeze, codes + r * columns, columns, bits, row.data());
    std::copy_n(row.begin(), row_bytes,
                out.begin() + static_cast<int64_t>(start + static_cast<size_t>(r) * row_bytes));
  });
}

void ct_pack_fp4(const int8_t* codes, int64_t rows, int64_t columns, std::vector<std::byte>& out) {
  TERSE_CHECK(columns % 2 == 0, "{} columns", columns);
  static const std::array<uint8_t, 256> nibbles = make_nibbles();
  const size_t start = out.size();
  const int64_t pairs = columns / 2;  // of a row
  out.resize(start + static_cast<size_t>(rows * pairs));
  each_row(rows, columns, [&](int64_t r) {
    const int8_t* from = codes + r * columns;
    std::byte* to = out.data() + start + r * pairs;
    for (int64_t i = 0; i < pairs; ++i) {
      const unsigned low = nibbles[static_cast<uint8_t>(from[2 * i])];
      const unsigned high = nibbles[static_cast<uint8_t>(from[2 * i + 1])];
      to[i] = static_cast<std::byte>(low | (high << 4));
    }
  });
}

std::byte ct_e4m3(float scale) {
  if (scale < 0x1p-6f) return static_cast<std::byte>(std::lrint(scale * 0x1p9f));  // subnormal
  const uint32_t u = std::bit_cast<uint32_t>(scale);
  const uint32_t exponent = (u >> 23) - 127 + 7;
  return static_cast<std::byte>((exponent << 3) | ((u >> 20) & 7u));
}

std::byte ct_e8m0(float scale) {
  return static_cast<std::byte>(std::bit_cast<uint32_t>(scale) >> 23);
}

}  // namespace terse
