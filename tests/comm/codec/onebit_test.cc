// The 1-bit codec against a formula written here in fp64, in all instruction sets.
#include "comm/codec/onebit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "base/error.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

void check_formula(const Bucket& bucket, int64_t parts, const OneBitOptions& options,
                   const std::vector<float>& message, const std::vector<float>& residual,
                   const uint64_t* live = nullptr) {
  const Result got = run(*make_onebit_codec(options), bucket, parts, message, residual, live);
  const auto group = group_of(bucket, options.block);
  std::map<int64_t, std::pair<double, int64_t>> sums;
  std::vector<float> x(message.size());
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = message[i] + residual[i];
    if (!is_live(live, static_cast<int64_t>(i))) continue;
    const double wide = std::abs(static_cast<double>(x[i]));
    auto& [sum, count] = sums[group[i]];
    sum += options.scale == ScaleKind::rms ? wide * wide : wide;
    ++count;
  }
  for (size_t i = 0; i < x.size(); ++i) {
    if (!is_live(live, static_cast<int64_t>(i))) {
      ASSERT_EQ(std::bit_cast<uint32_t>(got.decoded[i]), 0u) << i;
      ASSERT_EQ(std::bit_cast<uint32_t>(got.shadow[i]), 0u) << i;
      continue;
    }
    const auto [sum, count] = sums[group[i]];
    const double mean = sum / static_cast<double>(count);
    const double scale = options.scale == ScaleKind::rms ? std::sqrt(mean) : mean;
    // 64 additions a lane in fp32 round 2^-24 each, on average much less.
    ASSERT_NEAR(std::abs(got.decoded[i]), scale, scale * 2e-6 + 1e-44) << i;
    ASSERT_EQ(std::signbit(got.decoded[i]) ? 0 : 1, x[i] >= 0 ? 1 : 0) << i << " " << x[i];
    ASSERT_EQ(got.shadow[i], x[i] - got.decoded[i]) << i;
  }
}

TEST(OneBit, EqualsTheFormula) {
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    for (const auto& sizes : kShapes)
      for (const int64_t parts : {1, 2, 3, 5, 7})
        for (const ScaleKind scale : {ScaleKind::l1, ScaleKind::rms})
          for (const int64_t block : {0, 64, 4096}) {
            SCOPED_TRACE(::testing::Message() << isa_name(isa) << " shape " << sizes.size()
                                              << " parts " << parts << " block " << block);
            const Bucket bucket = make_bucket(sizes);
            check_formula(bucket, parts, {.scale = scale, .block = block}, values(bucket.size, 1),
                          values(bucket.size, 2));
            if (HasFatalFailure()) return;
          }
  }
}

TEST(OneBit, DeadCoordinatesTakeNoPart) {
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    const Bucket bucket = make_bucket({100, 5000, 64, 3000});
    auto message = values(bucket.size, 3);
    std::vector<uint64_t> live(static_cast<size_t>(bucket.size + 63) / 64, ~uint64_t{0});
    for (int64_t i = 0; i < bucket.size; ++i)
      if (i % 3 == 0 || (i >= 5100 && i < 5164)) {  // a whole segment dead
        live[static_cast<size_t>(i / 64)] &= ~(uint64_t{1} << (i % 64));
        message[static_cast<size_t>(i)] = 1e6f;  // must not be seen
      }
    check_formula(bucket, 3, {}, message, values(bucket.size, 4), live.data());
  }
}

TEST(OneBit, AwkwardNumbers) {
  const Bucket bucket = make_bucket({1003, 64});
  const std::vector<float> zero(static_cast<size_t>(bucket.size), 0.0f);
  for (const ScaleKind scale : {ScaleKind::l1, ScaleKind::rms}) {
    check_formula(bucket, 2, {.scale = scale}, awkward(bucket.size), zero);
    check_formula(bucket, 2, {.scale = scale}, zero, zero);
    check_formula(bucket, 2, {.scale = scale},
                  std::vector<float>(static_cast<size_t>(bucket.size), -1e-30f), zero);
    check_formula(bucket, 2, {.scale = scale},
                  std::vector<float>(static_cast<size_t>(bucket.size), 3e38f), zero);
  }
}

TEST(OneBit, ANanStaysInItsGroup) {
  const Bucket bucket = make_bucket({100, 100});
  auto message = values(bucket.size, 8);
  message[3] = std::numeric_limits<float>::quiet_NaN();
  const Result got = run(*make_onebit_codec(), bucket, 1, message, values(bucket.size, 9));
  EXPECT_TRUE(std::isnan(got.decoded[50]));
  EXPECT_TRUE(std::isnan(got.shadow[50]));
  EXPECT_TRUE(std::isfinite(got.decoded[150]));
}

// L1 is the least-squares scale: |x - q|^2 = (1 - delta) |x|^2, delta = |x|_1^2 / (n |x|_2^2).
TEST(OneBit, ContractsAsStated) {
  const Bucket bucket = make_bucket({20000});
  const auto x = values(bucket.size, 10);
  const Result got = run(*make_onebit_codec({.scale = ScaleKind::l1}), bucket, 1, x,
                         std::vector<float>(x.size(), 0.0f));
  double one = 0, two = 0, left = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    one += std::abs(static_cast<double>(x[i]));
    two += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    left += static_cast<double>(got.shadow[i]) * static_cast<double>(got.shadow[i]);
  }
  const double delta = one * one / (static_cast<double>(x.size()) * two);
  EXPECT_NEAR(left / two, 1 - delta, 1e-5);  // fp32 rounding of scale and residual
}

// The documented layout, byte by byte: numpy's packbits(bitorder="little").
TEST(OneBit, BytesAsDocumented) {
  const Bucket bucket = make_bucket({3, 67});
  std::vector<float> x(70, -2.0f);
  x[0] = 2.0f, x[2] = 0.0f, x[64] = 2.0f;
  const Result got =
      run(*make_onebit_codec({.scale = ScaleKind::l1}), bucket, 1, x, std::vector<float>(70, 0.0f));
  const auto& bytes = got.messages[0];
  ASSERT_EQ(bytes.size(), 64u + 16u + 8u);
  uint64_t words[2];
  float scales[2];
  std::memcpy(words, bytes.data() + 64, 16);
  std::memcpy(scales, bytes.data() + 80, 8);
  EXPECT_EQ(words[0], 0b101u);
  EXPECT_EQ(words[1], 0b1u);
  EXPECT_FLOAT_EQ(scales[0], 4.0f / 3.0f);
  EXPECT_EQ(scales[1], 2.0f);
  EXPECT_EQ(std::memcmp(bytes.data(), "TRSM", 4), 0);
}

// DeepSpeed's bits are numpy.packbits(x >= 0): the first element is the highest bit of a byte. Ours
// is the lowest. This turns ours into theirs.
std::vector<uint8_t> packed_as_numpy(std::span<const uint64_t> words, int64_t n) {
  std::vector<uint8_t> bytes(static_cast<size_t>((n + 7) / 8));
  for (int64_t i = 0; i < n; ++i)
    if ((words[static_cast<size_t>(i / 64)] >> (i % 64) & 1) != 0)
      bytes[static_cast<size_t>(i / 8)] |= static_cast<uint8_t>(0x80 >> (i % 8));
  return bytes;
}

TEST(OneBit, BitsConvertToDeepSpeeds) {
  // python3 -c "import numpy as n; x=n.array([((i*i)%7)-3 for i in range(70)],n.float32);
  //             print(list(n.packbits(x>=0)))"
  const std::vector<uint8_t> golden = {36, 72, 145, 34, 68, 137, 18, 36, 72};
  std::vector<float> x(70);
  for (int i = 0; i < 70; ++i) x[static_cast<size_t>(i)] = static_cast<float>(i * i % 7 - 3);
  const Result got =
      run(*make_onebit_codec({}), make_bucket({70}), 1, x, std::vector<float>(70, 0.0f));
  uint64_t words[2];
  std::memcpy(words, got.messages[0].data() + 64, 16);
  EXPECT_EQ(packed_as_numpy(words, 70), golden);
}

}  // namespace
}  // namespace terse::testing
