// N:M layouts against bits counted by hand, and the product against a dense one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "base/isa.h"
#include "export/nm_matrix.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

std::vector<float> normal_values(int64_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& v : values) v = normal(random);
  return values;
}

std::vector<uint8_t> mask_of(const Pattern& pattern, const std::vector<float>& weight, int64_t rows,
                             int64_t columns) {
  std::vector<uint8_t> mask(static_cast<size_t>(rows * mask_stride(columns)));
  EXPECT_TRUE(select_mask(pattern, weight.data(), rows, columns, mask.data()));
  return mask;
}

// Bits of a group by hand: 2:4 ties, so indices; 4:8 needs 12 as indices and 8 as a bitmask.
TEST(NmLayout, TheSmallerOne) {
  const auto text = [](const char* pattern) { return nm_layout(parse_pattern(pattern)).text(); };
  EXPECT_EQ(text("2:4"), "2:4 indices");
  EXPECT_EQ(text("1:4"), "1:4 indices");
  EXPECT_EQ(text("4:8"), "4:8 bitmask");
  EXPECT_EQ(text("8:16"), "8:16 bitmask");
  EXPECT_EQ(text("1:32"), "1:32 indices");
  EXPECT_EQ(text("2:5"), "2:5 bitmask");
  EXPECT_EQ(nm_layout(parse_pattern("2:4")).row_bytes(20), 3);  // 5 groups of 4 bits
  EXPECT_EQ(nm_layout(parse_pattern("1:32")).row_bytes(64), 2);
  EXPECT_THROW(nm_layout(parse_pattern("4:4")), Error);
  EXPECT_THROW(nm_layout(parse_pattern("unstructured:0.5")), Error);
  for (const char* bad : {"2:4", "2:4 bitmask", "2:4 indices ", "4:8 indices", "", "a:b indices"})
    EXPECT_THROW(parse_nm_layout(bad, "test"), Error) << bad;
}

TEST(NmLayout, TwoOfFourIsTwoBitsEach) {
  // Groups keep columns {1, 3} and {0, 2}: indices 1, 3, 0, 2 from the lowest bit: 0b10'00'11'01.
  const uint8_t mask[] = {0b01011010};
  const auto packed = pack_positions(nm_layout(parse_pattern("2:4")), mask, 1, 8, "w");
  EXPECT_EQ(packed, std::vector<uint8_t>{0b10001101});
}

TEST(NmLayout, GroupsThatKeepFewerAreFilledUpAndMoreAreAnError) {
  const NmLayout layout = nm_layout(parse_pattern("2:4"));
  const uint8_t fewer[] = {0b00001000};
  const auto packed = pack_positions(layout, fewer, 1, 4, "w");
  EXPECT_EQ(unpack_positions(layout, packed, 1, 4, "w"), (std::vector<uint16_t>{0, 3}));
  const uint8_t more[] = {0b00001011};
  EXPECT_THROW(pack_positions(layout, more, 1, 4, "w"), Error);
}

TEST(NmLayout, PositionsComeBackAndDamageIsAnError) {
  for (const char* text : {"2:4", "1:4", "4:8", "8:16", "1:32", "3:5", "2:1024"}) {
    const Pattern pattern = parse_pattern(text);
    const NmLayout layout = nm_layout(pattern);
    const int64_t rows = 3, columns = 3 * pattern.of;
    const auto mask = mask_of(pattern, normal_values(rows * columns, 1), rows, columns);
    const auto packed = pack_positions(layout, mask.data(), rows, columns, "w");
    const auto positions = unpack_positions(layout, packed, rows, columns, "w");
    EXPECT_EQ(mask_of_positions(layout, positions, rows, columns), mask) << text;
    for (size_t i = 0; i < packed.size(); ++i) {
      auto damaged = packed;
      damaged[i] ^= 1;
      try {
        EXPECT_NE(unpack_positions(layout, damaged, rows, columns, "w"), positions);
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ExitCode::invalid_file);
      }
    }
    EXPECT_THROW(unpack_positions(layout, packed, rows + 1, columns, "w"), Error);
  }
}

// The definition: one chain of fused multiply-adds over all columns, zeros included.
std::vector<float> dense_product(const std::vector<float>& w, const std::vector<float>& x,
                                 int64_t tokens, int64_t rows, int64_t columns) {
  std::vector<float> y(static_cast<size_t>(tokens * rows));
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t r = 0; r < rows; ++r) {
      float sum = 0;
      for (int64_t c = 0; c < columns; ++c)
        sum = std::fma(w[static_cast<size_t>(r * columns + c)],
                       x[static_cast<size_t>(t * columns + c)], sum);
      y[static_cast<size_t>(t * rows + r)] = sum;
    }
  return y;
}

NmMatrix sparse_matrix(const Pattern& pattern, int64_t rows, int64_t columns, uint64_t seed,
                       std::vector<float>& dense) {
  dense = normal_values(rows * columns, seed);
  for (float& v : dense) v = bf16_to_float(bf16_from_float(v));
  const auto mask = mask_of(pattern, dense, rows, columns);
  blend_rows({.f32 = dense.data()}, mask.data(), 0.0f, rows, columns, {.f32 = dense.data()});
  NmMatrix m{rows, columns, nm_layout(pattern), {}, DType::bf16, {}, std::nullopt};
  m.positions = unpack_positions(
      m.layout, pack_positions(m.layout, mask.data(), rows, columns, "w"), rows, columns, "w");
  for (size_t i = 0; i < m.positions.size(); ++i) {
    const auto keep = static_cast<size_t>(m.layout.keep), of = static_cast<size_t>(m.layout.of);
    const uint16_t h = bf16_from_float(dense[i / keep * of + m.positions[i]]);
    const auto bytes = bytes_of(&h, 1);
    m.values.insert(m.values.end(), bytes.begin(), bytes.end());
  }
  return m;
}

TEST(NmMultiply, HasTheBitsOfTheDenseProduct) {
  const Isa best = isa();
  for (const char* text : {"2:4", "4:8", "1:32", "3:5"})
    for (const int64_t tokens : {1, 63, 64, 130}) {
      const Pattern pattern = parse_pattern(text);
      const int64_t rows = 37, columns = 8 * pattern.of;
      std::vector<float> dense;
      const NmMatrix m = sparse_matrix(pattern, rows, columns, 3, dense);
      const auto x = normal_values(tokens * columns, 4);
      const auto expected = dense_product(dense, x, tokens, rows, columns);
      for (const Isa one : {Isa::scalar, Isa::avx2, Isa::avx512}) {
        if (!isa_supported(one)) continue;
        force_isa(one);
        std::vector<float> y(expected.size());
        nm_multiply(m, x.data(), tokens, 0, 20, y.data());  // as two threads would
        nm_multiply(m, x.data(), tokens, 20, rows, y.data());
        EXPECT_EQ(std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)), 0)
            << text << " " << tokens << " " << isa_name(one);
      }
      force_isa(best);
    }
}

}  // namespace
}  // namespace terse
