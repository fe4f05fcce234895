// Q4_0 and Q8_0: byte for byte what gguf-py makes of the same values (golden/make_gguf.py), where
// its scales are normal numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/file_system.h"
#include "base/half.h"
#include "base/isa.h"
#include "qat/quantize.h"

namespace terse {
namespace {

struct Golden {
  int64_t blocks = 0;
  std::vector<float> values;
  std::vector<uint8_t> q4, q8;
};

Golden golden() {
  const MappedFile file(TERSE_SOURCE_DIR "/tests/qat/golden/gguf_blocks.bin");
  const std::byte* p = file.bytes().data();
  uint32_t blocks = 0;
  std::memcpy(&blocks, p, 4);
  Golden g;
  g.blocks = blocks;
  g.values.resize(size_t{blocks} * 32);
  g.q4.resize(size_t{blocks} * 18);
  g.q8.resize(size_t{blocks} * 34);
  EXPECT_EQ(file.bytes().size(), 4 + g.values.size() * 4 + g.q4.size() + g.q8.size());
  std::memcpy(g.values.data(), p += 4, g.values.size() * 4);
  std::memcpy(g.q4.data(), p += g.values.size() * 4, g.q4.size());
  std::memcpy(g.q8.data(), p + g.q4.size(), g.q8.size());
  return g;
}

Codes encoded(const Grid& grid, const Golden& g) {
  Codes codes;
  codes.format = grid.format;
  codes.rows = g.blocks / 2;
  codes.columns = 64;
  codes.codes.resize(g.values.size());
  codes.scales.resize(static_cast<size_t>(g.blocks));
  quantize_rows(grid, {}, {.f32 = g.values.data(), .rows = codes.rows, .columns = 64},
                {.codes = codes.codes.data(), .scales = codes.scales.data()});
  return codes;
}

void put_scale(std::vector<uint8_t>& out, float scale) {
  const uint16_t d = fp16_from_float(scale);
  out.push_back(static_cast<uint8_t>(d));
  out.push_back(static_cast<uint8_t>(d >> 8));
}

std::vector<uint8_t> pack_q4(const Codes& codes) {
  std::vector<uint8_t> out;
  for (size_t b = 0; b < codes.scales.size(); ++b) {
    put_scale(out, codes.scales[b]);
    for (size_t j = 0; j < 16; ++j)
      out.push_back(static_cast<uint8_t>((codes.codes[b * 32 + j] + 8) |
                                         (codes.codes[b * 32 + 16 + j] + 8) << 4));
  }
  return out;
}

std::vector<uint8_t> pack_q8(const Codes& codes) {
  std::vector<uint8_t> out;
  for (size_t b = 0; b < codes.scales.size(); ++b) {
    put_scale(out, codes.scales[b]);
    for (size_t j = 0; j < 32; ++j) out.push_back(static_cast<uint8_t>(codes.codes[b * 32 + j]));
  }
  return out;
}

float scale_at(const std::vector<uint8_t>& bytes, size_t at) {
  return fp16_to_float(static_cast<uint16_t>(bytes[at] | bytes[at + 1] << 8));
}

// Where ggml's scale is zero or subnormal, ours is the smallest normal number.
void expect_equal_blocks(const std::vector<uint8_t>& ours, const std::vector<uint8_t>& theirs,
                         size_t size) {
  ASSERT_EQ(ours.size(), theirs.size());
  size_t small = 0;
  for (size_t b = 0; b < ours.size() / size; ++b) {
    if (std::fabs(scale_at(theirs, b * size)) < 0x1p-14f) {
      EXPECT_EQ(scale_at(ours, b * size), 0x1p-14f);
      ++small;
      continue;
    }
    EXPECT_EQ(std::memcmp(&ours[b * size], &theirs[b * size], size), 0) << "block " << b;
  }
  EXPECT_GT(small, 1u);
  EXPECT_LT(small, ours.size() / size / 4);
}

TEST(Gguf, BytesEqualGgufPy) {
  const Isa before = isa();
  const Golden g = golden();
  for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(set)) continue;
    force_isa(set);
    expect_equal_blocks(pack_q4(encoded(q4_0_grid(), g)), g.q4, 18);
    expect_equal_blocks(pack_q8(encoded(q8_0_grid(), g)), g.q8, 34);
  }
  force_isa(before);
}

TEST(Gguf, CodesAreValid) {
  const Golden g = golden();
  encoded(q4_0_grid(), g).validate("q4");
  encoded(q8_0_grid(), g).validate("q8");
}

}  // namespace
}  // namespace terse
