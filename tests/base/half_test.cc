#include "base/half.h"

#include <gtest/gtest.h>
#include <immintrin.h>

#include <cmath>
#include <limits>
#include <random>

#include "base/isa.h"

namespace terse {
namespace {

// The processor's own conversion is the oracle.
__attribute__((target("f16c"))) uint16_t hardware_fp16(float x) {
  return static_cast<uint16_t>(_cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
__attribute__((target("f16c"))) float hardware_float(uint16_t h) {
  return _cvtsh_ss(h);
}

bool is_nan16(uint16_t h) {
  return (h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0;
}

TEST(Half, EveryFp16DecodesAsTheProcessorDoes) {
  if (!isa_supported(Isa::avx2)) GTEST_SKIP() << "this processor has no F16C to compare with";
  for (uint32_t h = 0; h < 65536; ++h) {
    const auto half = static_cast<uint16_t>(h);
    const float got = fp16_to_float(half);
    const float want = hardware_float(half);
    if (std::isnan(want)) {
      ASSERT_TRUE(std::isnan(got));
    } else {
      ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(want)) << h;
    }
  }
}

TEST(Half, Fp16RoundsAsTheProcessorDoes) {
  if (!isa_supported(Isa::avx2)) GTEST_SKIP() << "this processor has no F16C to compare with";
  std::mt19937 random(1);
  for (int i = 0; i < 2000000; ++i) {
    const float x = std::bit_cast<float>(static_cast<uint32_t>(random()));
    const uint16_t want = hardware_fp16(x);
    const uint16_t got = fp16_from_float(x);
    if (is_nan16(want)) {
      ASSERT_TRUE(is_nan16(got));
    } else {
      ASSERT_EQ(got, want) << x;
    }
  }
  // Every boundary between two halves, and its neighbours.
  for (uint32_t h = 0; h < 0x7bff; ++h) {
    const float low = fp16_to_float(static_cast<uint16_t>(h));
    const float high = fp16_to_float(static_cast<uint16_t>(h + 1));
    const float middle = low + (high - low) / 2;
    for (float x :
         {low, middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e30f), -middle})
      ASSERT_EQ(fp16_from_float(x), hardware_fp16(x)) << x;
  }
}

TEST(Half, Bf16RoundsToNearestEven) {
  std::mt19937 random(2);
  for (int i = 0; i < 1000000; ++i) {
    const auto bits = static_cast<uint32_t>(random());
    const float x = std::bit_cast<float>(bits);
    const uint16_t got = bf16_from_float(x);
    if (std::isnan(x)) {
      ASSERT_TRUE(std::isnan(bf16_to_float(got)));
      continue;
    }
    // The two neighbours of x, by definition; the nearer wins, the even one on a tie. fp64 is
    // exact.
    const double low = bf16_to_float(static_cast<uint16_t>(bits >> 16));
    const auto high_bits = static_cast<uint16_t>((bits >> 16) + 1);
    const double high = (high_bits & 0x7fff) == 0x7f80 ? std::copysign(0x1p128, x)
                                                       : double{bf16_to_float(high_bits)};
    const double to_low = std::fabs(x - low), to_high = std::fabs(high - x);
    const bool up =
        std::isinf(x) ? false : to_high < to_low || (to_high == to_low && ((bits >> 16) & 1u) != 0);
    ASSERT_EQ(got, up ? high_bits : static_cast<uint16_t>(bits >> 16)) << x;
  }
}

}  // namespace
}  // namespace terse
