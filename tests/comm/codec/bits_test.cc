// The b-bit codec against formulas written here: torch_cgx's max-min quantization, QSGD's, the
// generator's published answers.
#include "comm/codec/bits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/error.h"
#include "comm/codec/bits_grid.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

using Scaling = BitsOptions::Scaling;
using Rounding = BitsOptions::Rounding;

std::vector<float> nothing(const Bucket& bucket) {
  return std::vector<float>(static_cast<size_t>(bucket.size), 0.0f);
}

struct Extremes {
  float low = std::numeric_limits<float>::max();
  float high = std::numeric_limits<float>::lowest();
};

std::map<int64_t, Extremes> extremes(const std::vector<int64_t>& group,
                                     const std::vector<float>& x) {
  std::map<int64_t, Extremes> all;
  for (size_t i = 0; i < x.size(); ++i) {
    all[group[i]].low = std::min(all[group[i]].low, x[i]);
    all[group[i]].high = std::max(all[group[i]].high, x[i]);
  }
  return all;
}

// torch_cgx's maxmin quantizer, in fp32: level = floor((x - min) / unit + 0.5), x = min + level
// unit. Its half goes up where ours goes to even, and within 2^-22 of halfway our product may
// differ from its quotient: there both neighbours are right.
void expect_cgx(float got, float x, const Extremes& e, int bits) {
  const float unit = (e.high - e.low) / static_cast<float>((1 << bits) - 1);
  const float place = unit == 0 ? 0 : (x - e.low) / unit;
  const float level = std::floor(place + 0.5f);
  const float fraction = place - std::floor(place);
  const float other = fraction < 0.5f ? level + 1 : level - 1;
  const bool halfway = std::abs(fraction - 0.5f) <= place * 0x1p-22f;
  if (halfway && got == e.low + other * unit) return;
  ASSERT_EQ(got, e.low + level * unit) << x;
}

// QSGD's quantizer with the largest magnitude for the norm: norm sgn(x) level / s.
double qsgd(float x, const Extremes& e, int bits) {
  const double norm = std::max(std::abs(static_cast<double>(e.low)), static_cast<double>(e.high));
  const double s = (1 << (bits - 1)) - 1;
  return norm == 0 ? 0 : std::nearbyint(static_cast<double>(x) / norm * s) * norm / s;
}

void check_formula(const std::vector<int64_t>& sizes, int64_t parts, const BitsOptions& options) {
  const Bucket bucket = make_bucket(sizes);
  const auto message = values(bucket.size, 1), residual = values(bucket.size, 2);
  const Result got = run(*make_bits_codec(options), bucket, parts, message, residual);
  std::vector<float> x(message.size());
  for (size_t i = 0; i < x.size(); ++i) x[i] = message[i] + residual[i];
  const auto group = group_of(bucket, options.block);
  const auto all = extremes(group, x);
  for (size_t i = 0; i < x.size(); ++i) {
    const Extremes& e = all.at(group[i]);
    if (options.scaling == Scaling::max_min) {
      expect_cgx(got.decoded[i], x[i], e, options.bits);
      if (::testing::Test::HasFatalFailure()) return;
    } else {
      // The step is rounded once, its multiple once: 2^-23 of the value.
      const double expected = qsgd(x[i], e, options.bits);
      ASSERT_NEAR(got.decoded[i], expected, std::abs(expected) * 0x1p-23) << i << ": " << x[i];
    }
  }
}

TEST(Bits, EqualsThePublishedFormulas) {
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    for (int bits = 1; bits <= 8; ++bits)
      for (const Scaling scaling : {Scaling::max_min, Scaling::norm})
        for (const auto& sizes : kShapes) {
          if (scaling == Scaling::norm && bits == 1) continue;
          const int64_t block = bits % 3 == 0 ? 0 : bits % 3 == 1 ? 64 : 512;
          SCOPED_TRACE(::testing::Message() << isa_name(isa) << " bits " << bits << " norm "
                                            << (scaling == Scaling::norm) << " block " << block
                                            << " segments " << sizes.size());
          check_formula(sizes, bits % 4 + 1, {.bits = bits, .scaling = scaling, .block = block});
          if (HasFatalFailure()) return;
        }
  }
}

// The exact bounds of bits.h: half a step (stochastic: a step), of the group's own range.
TEST(Bits, ErrorIsWithinTheStep) {
  const Bucket bucket = make_bucket({5000, 3, 700});
  const auto x = values(bucket.size, 3);
  const auto group = group_of(bucket, 512);
  const auto all = extremes(group, x);
  for (int bits = 1; bits <= 8; ++bits)
    for (const Rounding rounding : {Rounding::nearest, Rounding::stochastic}) {
      const auto codec = make_bits_codec({.bits = bits, .rounding = rounding});
      const Result got = run(*codec, bucket, 2, x, nothing(bucket));
      for (size_t i = 0; i < x.size(); ++i) {
        const Extremes& e = all.at(group[i]);
        const double range = static_cast<double>(e.high) - static_cast<double>(e.low);
        const double step = range / ((1 << bits) - 1);
        // Low, step and product are rounded to fp32: a few 2^-24 of values up to 1.
        const double limit = step * (rounding == Rounding::nearest ? 0.5 : 1.0) + 4e-7;
        ASSERT_LE(std::abs(static_cast<double>(got.shadow[i])), limit) << i << " bits " << bits;
      }
    }
}

TEST(Bits, NormNeverEnlargesAnElement) {
  const Bucket bucket = make_bucket({20000});
  const auto x = values(bucket.size, 4);
  for (int bits = 2; bits <= 8; ++bits) {
    const auto codec = make_bits_codec({.bits = bits, .scaling = Scaling::norm, .block = 0});
    const Result got = run(*codec, bucket, 1, x, nothing(bucket));
    double all = 0, left = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      ASSERT_LE(std::abs(got.shadow[i]), std::abs(x[i])) << i;
      all += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      left += static_cast<double>(got.shadow[i]) * static_cast<double>(got.shadow[i]);
    }
    EXPECT_LT(left, all * (1 - 1.0 / static_cast<double>(x.size())));
  }
}

// The documented shares of |x|^2 that gaussian data leave.
TEST(Bits, GaussianDataLeaveWhatTheHeaderSays) {
  const Bucket bucket = make_bucket({1 << 17});
  std::vector<float> x;
  for (uint32_t i = 0; i < 1 << 16; ++i) {  // Box-Muller on Philox
    uint32_t words[4][1] = {{i}, {0}, {0}, {0}};
    philox4x32(words, {1, 2});
    const double radius =
        std::sqrt(-2 * std::log((static_cast<double>(words[0][0]) + 0.5) * 0x1p-32));
    const double angle = 2 * M_PI * static_cast<double>(words[1][0]) * 0x1p-32;
    x.push_back(static_cast<float>(radius * std::cos(angle)));
    x.push_back(static_cast<float>(radius * std::sin(angle)));
  }
  for (const auto& [scaling, share] :
       {std::pair{Scaling::max_min, 0.0138}, std::pair{Scaling::norm, 0.0182}}) {
    const Result got = run(*make_bits_codec({.scaling = scaling}), bucket, 1, x, nothing(bucket));
    double all = 0, left = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      all += static_cast<double>(x[i]) * static_cast<double>(x[i]);
      left += static_cast<double>(got.shadow[i]) * static_cast<double>(got.shadow[i]);
    }
    EXPECT_NEAR(left / all, share, 0.0005);
  }
}

TEST(Bits, GroupsOfEqualElementsAreExact) {
  const Bucket bucket = make_bucket({600, 100, 3});
  for (const float value : {0.0f, 3.14159f, -1e-42f, 8e37f}) {
    const std::vector<float> x(703, value);
    const Result got = run(*make_bits_codec({.bits = 3}), bucket, 2, x, nothing(bucket));
    EXPECT_EQ(got.decoded, x);
    EXPECT_EQ(got.shadow, nothing(bucket));
  }
}

TEST(Bits, TheSmallestStepIsTwoToMinus126) {
  const Bucket bucket = make_bucket({64});
  for (const int bits : {2, 4, 8})
    for (const Scaling scaling : {Scaling::max_min, Scaling::norm})
      for (const float top : {1e-44f, 1e-42f, 3e-38f, 1e-36f}) {
        std::vector<float> x(64);
        for (int i = 0; i < 64; ++i) x[static_cast<size_t>(i)] = static_cast<float>(i) / 63 * top;
        const auto codec = make_bits_codec({.bits = bits, .scaling = scaling});
        const Result got = run(*codec, bucket, 1, x, nothing(bucket));
        const int levels = scaling == Scaling::max_min ? (1 << bits) - 1 : (1 << (bits - 1)) - 1;
        // Half a step; step and levels are rounded to 24 bits.
        const float limit = 0.5f * std::max(top / static_cast<float>(levels), 0x1p-126f);
        for (const float rest : got.shadow) EXPECT_LE(std::abs(rest), limit * (1 + 0x1p-14f));
      }
}

TEST(Bits, HugeNumbersAreCut) {
  const Bucket bucket = make_bucket({64});
  std::vector<float> x(64, 0.0f);
  x[0] = std::numeric_limits<float>::max(), x[1] = -x[0];
  for (const int bits : {2, 4, 8})
    for (const Scaling scaling : {Scaling::max_min, Scaling::norm}) {
      const auto codec = make_bits_codec({.bits = bits, .scaling = scaling});
      const Result got = run(*codec, bucket, 1, x, nothing(bucket));
      EXPECT_NEAR(got.decoded[0] / 0x1p126f, 1.0f, 1e-6f);
      EXPECT_NEAR(got.decoded[1] / 0x1p126f, -1.0f, 1e-6f);
      for (const float rest : got.shadow) EXPECT_TRUE(std::isfinite(rest));
    }
}

TEST(Bits, StochasticIsUnbiased) {
  const Bucket bucket = make_bucket({64});
  const auto x = values(64, 6);
  const auto all = extremes(std::vector<int64_t>(64, 0), x).at(0);
  for (const Scaling scaling : {Scaling::max_min, Scaling::norm}) {
    const auto codec =
        make_bits_codec({.bits = 3, .scaling = scaling, .rounding = Rounding::stochastic});
    constexpr int kDraws = 4000;
    std::vector<double> mean(64, 0.0);
    for (uint32_t step = 0; step < kDraws; ++step) {
      const MessageTag tag{.bucket = 3, .sender = 1, .step = step, .stage = 0};
      const Result got = run(*codec, bucket, 1, x, nothing(bucket), nullptr, {}, tag);
      for (size_t i = 0; i < 64; ++i) mean[i] += static_cast<double>(got.decoded[i]) / kDraws;
    }
    const double range =
        scaling == Scaling::max_min
            ? static_cast<double>(all.high) - static_cast<double>(all.low)
            : std::max(-static_cast<double>(all.low), static_cast<double>(all.high));
    const double step = range / (scaling == Scaling::max_min ? 7 : 3);
    // A Bernoulli of fraction f: sigma = step sqrt(f (1 - f) / draws); 64 elements, 5 sigma.
    double square = 0;
    for (size_t i = 0; i < 64; ++i) {
      const double place = (static_cast<double>(x[i]) -
                            (scaling == Scaling::max_min ? static_cast<double>(all.low) : 0.0)) /
                           step;
      const double f = place - std::floor(place);
      const double sigma = step * std::sqrt(f * (1 - f) / kDraws) + 1e-7;
      EXPECT_LE(std::abs(mean[i] - static_cast<double>(x[i])), 5 * sigma) << i;
      square += (mean[i] - static_cast<double>(x[i])) / sigma *
                ((mean[i] - static_cast<double>(x[i])) / sigma);
    }
    // And not better than chance either: chi-square of 64 has sigma 11; 2 elements may be exact.
    EXPECT_NEAR(square, 63, 55);
  }
}

// Random123's known answers for philox4x32-10.
TEST(Bits, PhiloxIsThePublishedOne) {
  struct {
    uint32_t in[4], key[2], out[4];
  } const answers[] = {{{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                       {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
                        {0xffffffff, 0xffffffff},
                        {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                       {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
                        {0xa4093822, 0x299f31d0},
                        {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const auto& answer : answers) {
    uint32_t words[4][1];
    for (int c = 0; c < 4; ++c) words[c][0] = answer.in[c];
    philox4x32(words, answer.key);
    for (int c = 0; c < 4; ++c) EXPECT_EQ(words[c][0], answer.out[c]) << c;
  }
}

// docs/protocol.md says which number an element gets; replicas and restarts rely on it.
TEST(Bits, NoiseIsThatOfTheTag) {
  const Bucket bucket = make_bucket({5000});
  std::vector<float> x(5000, 0.5f);
  for (size_t i = 0; i < 5000; i += 512) x[i] = 0.0f, x[i + 1] = 1.0f;
  const BitsOptions options{
      .bits = 1, .rounding = Rounding::stochastic, .seed = 0x123456789abcdef0u};
  const Result got = run(*make_bits_codec(options), bucket, 2, x, nothing(bucket));
  int differ = 0;
  for (int64_t i = 0; i < 5000; ++i) {
    if (i % 512 < 2) continue;
    uint32_t words[4][1] = {{static_cast<uint32_t>(i / 64 * 16 + i % 16)}, {7}, {3 * 2 + 0}, {1}};
    philox4x32(words, {0x9abcdef0u, 0x12345678u});
    const bool up = words[i % 64 / 16][0] >> 8 < 1u << 23;  // u < 1/2
    ASSERT_EQ(got.decoded[static_cast<size_t>(i)], up ? 1.0f : 0.0f) << i;
    differ += up ? 1 : 0;
  }
  EXPECT_NEAR(differ, 2490, 180);  // 5 sigma of a fair coin
}

TEST(Bits, BitsMayDifferBySegment) {
  const Bucket bucket = make_bucket({5000, 0, 3, 700, 130});
  const auto x = values(bucket.size, 8);
  const std::vector<double> bits = {2, 4, 8, 1, 6};
  const auto mixed = run(*make_bits_codec(), bucket, 3, x, nothing(bucket), nullptr, bits);
  for (size_t s = 0; s < bits.size(); ++s) {
    const Segment& segment = bucket.segments[s];
    const auto same =
        run(*make_bits_codec({.bits = static_cast<int>(bits[s])}), bucket, 3, x, nothing(bucket));
    for (int64_t i = segment.offset; i < segment.offset + segment.size; ++i)
      ASSERT_EQ(mixed.decoded[static_cast<size_t>(i)], same.decoded[static_cast<size_t>(i)]) << i;
  }
}

// The documented layout, byte by byte.
TEST(Bits, BytesAsDocumented) {
  const Bucket bucket = make_bucket({3, 63, 0, 2});
  std::vector<float> x(68, 0.0f);
  x[0] = 0.0f, x[1] = 15.0f, x[2] = 9.4f;   // 4 bits, step 1
  x[3] = -2.0f, x[4] = 5.0f, x[65] = 1.0f;  // 3 bits, step 1: codes 0, 7, ..., 3; zeros are 2
  x[66] = 7.5f, x[67] = 7.5f;
  const std::vector<double> bits = {4, 3, 5, 8};
  const Result got = run(*make_bits_codec(), bucket, 1, x, nothing(bucket), nullptr, bits);
  const auto& bytes = got.messages[0];
  // Widths; 4 words, 2 x 3 words, 8 words; 3 groups of 8 bytes.
  ASSERT_EQ(bytes.size(), 64u + 8u + (4u + 6u + 8u) * 8u + 24u);
  EXPECT_EQ(bytes[5], std::byte{4});  // codec
  const unsigned char widths[8] = {4, 3, 8};
  EXPECT_EQ(std::memcmp(bytes.data() + 64, widths, 8), 0);
  uint64_t words[18];
  std::memcpy(words, bytes.data() + 72, sizeof words);
  EXPECT_EQ(words[0], 0x9f0u);
  const auto three_bits = [&](int64_t i) {
    uint64_t code = 0;
    for (int64_t t = 0; t < 3; ++t) {
      const auto bit = static_cast<size_t>(3 * i + t);
      code |= (words[4 + bit / 64] >> (bit % 64) & 1) << t;
    }
    return code;
  };
  for (int64_t i = 0; i < 128; ++i)
    EXPECT_EQ(three_bits(i), i < 3 || i > 65 || i == 3 ? 0u : i == 4 ? 7u : i == 65 ? 3u : 2u) << i;
  for (int w = 10; w < 18; ++w) EXPECT_EQ(words[w], 0u);
  float scales[6];
  std::memcpy(scales, bytes.data() + 72 + sizeof words, sizeof scales);
  const float expected[6] = {0.0f, 1.0f, -2.0f, 1.0f, 7.5f, 0x1p-126f};
  for (int k = 0; k < 6; ++k) EXPECT_EQ(scales[k], expected[k]) << k;
}

TEST(Bits, WireSizeIsKnown) {
  const Bucket bucket = make_bucket({1 << 20});
  for (int bits = 1; bits <= 8; ++bits) {
    const auto codec = make_bits_codec({.bits = bits});
    const auto bound = codec->bind(bucket, {{0, bucket.size}});
    EXPECT_EQ(bound->bytes(0), 64 + 8 + (1 << 20) / 8 * bits + (1 << 20) / 512 * 8);
  }
  const auto norm = make_bits_codec({.scaling = Scaling::norm});
  EXPECT_EQ(norm->bind(bucket, {{0, bucket.size}})->bytes(0),
            64 + 8 + (1 << 20) / 2 + (1 << 20) / 512 * 4);
}

TEST(Bits, WrongWidthsAreRefused) {
  const auto refused = [](const std::function<void()>& work, const std::string& about) {
    try {
      work();
      ADD_FAILURE() << about;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      EXPECT_NE(std::string(error.what()).find(about), std::string::npos) << error.what();
    }
  };
  for (const int bits : {-1, 0, 9}) refused([&] { make_bits_codec({.bits = bits}); }, "1 to 8");
  refused([] { make_bits_codec({.bits = 1, .scaling = Scaling::norm}); }, "2 to 8");
  const Bucket bucket = make_bucket({10, 20});
  const auto bind = [&](const std::vector<double>& bits) {
    make_bits_codec()->bind(bucket, {{0, 30}}, bits);
  };
  refused([&] { bind({4}); }, "2 segments");
  refused([&] { bind({4, 4.5}); }, "s1");
  refused([&] { bind({std::nan(""), 4}); }, "s0");
}

// Two ranks that were given different bits for a segment, the sum of the sizes being equal.
TEST(Bits, OtherWidthsAreDisagreement) {
  const Bucket bucket = make_bucket({640, 640});
  const auto x = values(bucket.size, 9);
  const auto codec = make_bits_codec();
  const std::vector<double> theirs = {3, 5}, ours = {5, 3};
  const Result got = run(*codec, bucket, 1, x, nothing(bucket), nullptr, theirs);
  std::vector<float> out(x.size());
  try {
    decode_message(*codec, got.messages[0], kTag, bucket, out, ours);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::disagree);
    EXPECT_NE(std::string(error.what()).find("segment 0 has width 3, expected 5"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace terse::testing
