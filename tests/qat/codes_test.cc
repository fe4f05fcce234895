// Codes as plain data: the decode rule of every kind of format, text and back, what validate()
// refuses; and the scale types against the values that their bytes can have.
#include "qat/codes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/half.h"
#include "base/isa.h"

namespace terse {
namespace {

CodeFormat format_of(const std::string& text) {
  return parse_code_format(text);
}

Codes sample(const std::string& text, float tensor_scale) {
  Codes codes;
  codes.format = format_of(text);
  codes.rows = 3;
  codes.columns = 64;
  codes.tensor_scale = tensor_scale;
  constexpr int8_t kFp4[] = {-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12};
  const CodeFormat& f = codes.format;
  for (int i = 0; i < 3 * 64; ++i)
    codes.codes.push_back(
        f.grid == "fp4" ? kFp4[i * 7 % 15]
                        : static_cast<int8_t>(f.code_min + i * 5 % (f.code_max - f.code_min + 1)));
  for (int64_t i = 0; i < codes.scale_count(); ++i)
    codes.scales.push_back(
        round_scale(0.37f + 0.11f * static_cast<float>(i % 9), codes.format.scale_type));
  codes.validate("sample");
  return codes;
}

const char* const kFormats[] = {
    "int_signed b4 g32 f16 h0 [-8,7] +0", "half_int b4 g32 f16_7bit h0 [-8,7] +0.5",
    "ternary b2 g-1 f32 h0 [-1,1] +0",    "ternary b2 g64 f16 h32 [-1,1] +0",
    "half_int b1 g0 bf16 h0 [-1,0] +0.5", "fp4 b4 g32 e8m0 h0 [-12,12] +0 x0.5",
    "fp4 b4 g16 e4m3 h0 [-12,12] +0 x0.5"};

TEST(CodesFormats, TextAndBack) {
  for (const char* text : kFormats) EXPECT_EQ(to_string(format_of(text)), text);
  EXPECT_EQ(format_of("fp4 b4 g32 e8m0 h0 [-12,12] +0 x0.5 2:4").unit, 0.5f);
  EXPECT_EQ(format_of("fp4 b4 g32 e8m0 h0 [-12,12] +0 x0.5 2:4").pattern, "2:4");
  for (const char* wrong :
       {"fp4 b4 g32 e8m1 h0 [-12,12] +0 x0.5", "fp4 b4 g32 e8m0 h0 [-12,12] +0 x",
        "fp4 b4 g32 e8m0 h0 [-12,12] +0 x0.5 2:4 more", "fp4 b4 g32 e8m0 h0 [-12,12] +0 2:4 x0.5",
        "fp4 b4 g32 e8m0 h0 [-12,12] +0 x1"})
    EXPECT_THROW(format_of(wrong), Error) << wrong;
}

// The rule of codes.h, in its own order of products, on every instruction set.
TEST(CodesFormats, DecodeByTheRule) {
  const Isa before = isa();
  for (const char* text : kFormats) {
    const Codes codes = sample(text, std::string(text).find("e4m3") == std::string::npos ? 1 : 4);
    const CodeFormat& f = codes.format;
    const int64_t group = f.group < 0 ? 3 * 64 : f.group == 0 ? 64 : f.group;
    for (const Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      if (!isa_supported(set)) continue;
      force_isa(set);
      std::vector<float> decoded(3 * 64);
      codes.decode(decoded.data());
      for (size_t i = 0; i < decoded.size(); ++i) {
        const float scale = codes.scales[i / static_cast<size_t>(group)];
        EXPECT_EQ(decoded[i], ((static_cast<float>(codes.codes[i]) + f.offset) * f.unit) *
                                  (scale * codes.tensor_scale))
            << text;
      }
    }
  }
  force_isa(before);
}

TEST(CodesFormats, RowsAreCutWithTheirScales) {
  for (const char* text : kFormats) {
    const Codes codes = sample(text, std::string(text).find("e4m3") == std::string::npos ? 1 : 4);
    const Codes part = codes.row_slice(1, 3);
    part.validate("part");
    std::vector<float> all(3 * 64), some(2 * 64);
    codes.decode(all.data());
    part.decode(some.data());
    EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin() + 64)) << text;
    EXPECT_EQ(part.scale_at(0, 63), codes.scale_at(1, 63));
  }
}

template <typename Change>
void refused(const char* text, const Change& change) {
  Codes codes = sample(text, 1.0f);
  change(codes);
  EXPECT_THROW(codes.validate("sample"), Error) << to_string(codes.format);
}

TEST(CodesFormats, ValidateRefuses) {
  const char* fp4 = kFormats[5];
  refused(fp4, [](Codes& c) { c.codes[5] = 5; });
  refused(fp4, [](Codes& c) { c.codes[5] = 13; });
  refused(fp4, [](Codes& c) { c.scales[1] = 3.0f; });
  refused(fp4, [](Codes& c) { c.scales[1] = 0.0f; });
  refused(fp4, [](Codes& c) { c.format.unit = 0.3f; });
  refused(fp4, [](Codes& c) { c.format.group = -2; });
  refused(fp4, [](Codes& c) { c.tensor_scale = 2.0f; });
  refused(kFormats[6], [](Codes& c) { c.tensor_scale = 3.0f; });
  refused(kFormats[6], [](Codes& c) { c.tensor_scale = 0x1p-120f; });
  refused(kFormats[6], [](Codes& c) { c.scales[0] = -1.0f; });
  refused(kFormats[2], [](Codes& c) { c.scales.push_back(1.0f); });
  refused(kFormats[1], [](Codes& c) { c.scales[0] = 255.0f / 128; });
}

// All values of an 8-bit type, from the definition of its bits.
std::vector<float> bytes_of_e4m3() {
  std::vector<float> all;
  for (int byte = 1; byte < 127; ++byte) {  // 127 is NaN
    const int exponent = byte / 8, mantissa = byte % 8;
    all.push_back(exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                : std::ldexp(8.0f + static_cast<float>(mantissa), exponent - 10));
  }
  return all;
}

float nearest(const std::vector<float>& all, float x, float least) {
  float best = all.back();
  for (const float v : all) {
    if (v < least) continue;
    const double near = std::fabs(double{v} - x), so_far = std::fabs(double{best} - x);
    if (near < so_far) best = v;
  }
  return best;
}

// From `first` while below `end`, each `factor` times the one before.
std::vector<float> geometric(float first, float end, float factor) {
  std::vector<float> all;
  float x = first;
  while (x < end) {
    all.push_back(x);
    x *= factor;
  }
  return all;
}

TEST(ScaleTypes, RoundToTheNearestOfTheirValues) {
  const std::vector<float> e4m3 = bytes_of_e4m3();
  std::vector<float> e8m0;
  for (int e = -127; e <= 127; ++e) e8m0.push_back(std::ldexp(1.0f, e));
  for (const float x : geometric(0x1p-10f, 440.0f, 1.00371f)) {
    EXPECT_EQ(round_scale(x, ScaleType::e4m3), nearest(e4m3, x, 0x1p-6f)) << x;
    EXPECT_EQ(round_scale(x, ScaleType::e8m0), nearest(e8m0, x, 0x1p-126f)) << x;
  }
  for (const float v : e4m3) EXPECT_TRUE(representable(v, ScaleType::e4m3)) << v;
  for (const float v : e8m0) EXPECT_TRUE(representable(v, ScaleType::e8m0)) << v;
  for (const float v : {449.0f, -1.0f, 0x1p-10f, 1.0625f, 464.0f})
    EXPECT_FALSE(representable(v, ScaleType::e4m3)) << v;
  EXPECT_FALSE(representable(0.0f, ScaleType::e8m0));
  EXPECT_FALSE(representable(0x1p-128f, ScaleType::e8m0));
}

// Q4_1 holds d and m = -7.5 d in fp16 and decodes d u + m: both and the sum must be exact.
TEST(ScaleTypes, SevenBitsGiveAnExactMinimum) {
  for (const float x : geometric(0x1p-15f, 8704.0f, 1.0137f)) {
    const float d = round_scale(x, ScaleType::f16_7bit);
    EXPECT_TRUE(representable(d, ScaleType::f16_7bit));
    EXPECT_LE(std::fabs(d - x), std::max(x * 0x1p-7f, 0x1p-15f));
    const float m = fp16_to_float(fp16_from_float(-7.5f * d));
    EXPECT_EQ(fp16_to_float(fp16_from_float(d)), d);
    for (int u = 0; u < 16; ++u)
      EXPECT_EQ(static_cast<float>(u) * d + m, (static_cast<float>(u - 8) + 0.5f) * d);
  }
}

TEST(ScaleTypes, EdgesOfEveryType) {
  for (const ScaleType type : {ScaleType::f32, ScaleType::f16, ScaleType::bf16, ScaleType::f16_7bit,
                               ScaleType::e8m0, ScaleType::e4m3}) {
    EXPECT_EQ(parse_scale_type(to_string(type)), type);
    EXPECT_EQ(round_scale(0.0f, type), smallest_normal(type));
    EXPECT_EQ(round_scale(largest_scale(type), type), largest_scale(type));
    EXPECT_TRUE(representable(largest_scale(type), type)) << to_string(type);
    EXPECT_TRUE(representable(smallest_normal(type), type)) << to_string(type);
    EXPECT_TRUE(std::isnan(round_scale(NAN, type)));
    EXPECT_TRUE(std::isinf(round_scale(HUGE_VALF, type)));
    if (type != ScaleType::f32) {
      EXPECT_TRUE(std::isinf(round_scale(std::numeric_limits<float>::max(), type)));
    }
    const float end = std::nextafter(std::min(largest_scale(type), 8000.0f), HUGE_VALF);
    for (const float x : geometric(smallest_normal(type), end, 1.731f))
      EXPECT_TRUE(representable(round_scale(x, type), type)) << to_string(type) << x;
  }
}

}  // namespace
}  // namespace terse
