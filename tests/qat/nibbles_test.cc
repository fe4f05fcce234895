#include "qat/nibbles.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/isa.h"
#include "qat/grid.h"

namespace terse {
namespace {

std::vector<int8_t> all_codes(Nibble kind) {
  if (kind == Nibble::fp4) return {0, 1, 2, 3, 4, 6, 8, 12, -1, -2, -3, -4, -6, -8, -12};
  std::vector<int8_t> codes;
  for (int q = -8; q <= 7; ++q) codes.push_back(static_cast<int8_t>(q));
  return codes;
}

TEST(Nibbles, EveryCodeComesBackAtEveryColumnOnEveryInstructionSet) {
  const Isa before = isa();
  for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(set)) continue;
    force_isa(set);
    for (const Nibble kind : {Nibble::integer, Nibble::fp4}) {
      const std::vector<int8_t> codes = all_codes(kind);
      for (const int64_t columns : {1, 2, 3, 31, 64, 129, 200}) {
        const int64_t rows = 3;
        std::vector<int8_t> in(static_cast<size_t>(rows * columns)), out(in.size(), 99);
        for (size_t i = 0; i < in.size(); ++i) in[i] = codes[(i * 7 + i / 11) % codes.size()];
        std::vector<uint8_t> bytes(static_cast<size_t>(rows * nibble_stride(columns)), 0xff);
        pack_nibbles(kind, in.data(), rows, columns, bytes.data());
        unpack_nibbles(kind, bytes.data(), rows, columns, out.data());
        EXPECT_EQ(in, out) << isa_name(set) << " " << columns;
      }
    }
  }
  force_isa(before);
}

TEST(Nibbles, LayoutOfARow) {
  const std::vector<int8_t> codes = {1, -8, 7};
  std::vector<uint8_t> bytes(2);
  pack_nibbles(Nibble::integer, codes.data(), 1, 3, bytes.data());
  EXPECT_EQ(bytes, (std::vector<uint8_t>{0x81, 0x07}));
}

TEST(Nibbles, GridsOfFourBitsAndLessFit) {
  const auto of = [](const char* grid, int bits) {
    return nibble_of(mse_grid(grid, bits, 0, ScaleType::f32, 0).format);
  };
  EXPECT_EQ(of("half_int", 4), Nibble::integer);
  EXPECT_EQ(of("half_int", 1), Nibble::integer);
  EXPECT_EQ(of("int_symmetric", 4), Nibble::integer);
  EXPECT_EQ(of("int_signed", 5), Nibble::none);
  EXPECT_EQ(of("half_int", 8), Nibble::none);
  CodeFormat fp4;
  fp4.grid = "fp4", fp4.code_min = -12, fp4.code_max = 12;
  EXPECT_EQ(nibble_of(fp4), Nibble::fp4);
}

}  // namespace
}  // namespace terse
