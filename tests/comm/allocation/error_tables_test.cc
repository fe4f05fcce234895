// Errors of top-k and of codecs against their definitions, in fp64.
#include "comm/allocation/error_tables.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "comm/codec/bits.h"
#include "comm/codec/topk.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

// By sorting everything.
double sorted_topk_error(std::vector<float> x, int64_t kept) {
  std::sort(x.begin(), x.end(), [](float a, float b) { return std::abs(a) > std::abs(b); });
  double sum = 0;
  for (size_t i = x.size(); i-- > static_cast<size_t>(std::max(kept, int64_t{0}));)
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return std::sqrt(sum);
}

void check_topk(const std::vector<float>& x) {
  const auto n = static_cast<int64_t>(x.size());
  const std::vector<int64_t> kept{n / 1000, 0, 1, n / 100, n / 10, n - 1, n, n + 5, -1, n / 3};
  const auto errors = topk_errors(x, kept);
  ASSERT_EQ(errors.size(), kept.size());
  for (size_t i = 0; i < kept.size(); ++i) {
    const double wanted = sorted_topk_error(x, kept[i]);
    // The same numbers added in another order, in fp64.
    ASSERT_NEAR(errors[i], wanted, 1e-12 * wanted) << n << " keep " << kept[i];
  }
}

TEST(TopKErrors, EqualSortingForEveryCount) {
  for (const int64_t n : {0, 1, 2, 7, 63, 1000, 50003}) {
    check_topk(values(n, 5));
    check_topk(awkward(n));
    check_topk(std::vector<float>(static_cast<size_t>(n), -0.5f));  // all in one bin
    check_topk(std::vector<float>(static_cast<size_t>(n)));
  }
}

TEST(TopKErrors, FallToZeroAndStartAtTheNorm) {
  const auto x = values(5000, 9);
  std::vector<int64_t> kept(5001);
  std::iota(kept.begin(), kept.end(), 0);
  const auto errors = topk_errors(x, kept);
  EXPECT_NEAR(errors[0], norm(x), 1e-12 * norm(x));
  EXPECT_EQ(errors[5000], 0);
  for (size_t k = 1; k < errors.size(); ++k) ASSERT_LE(errors[k], errors[k - 1] * (1 + 1e-12)) << k;
}

TEST(TopKErrors, OfWhatIsNotFiniteAreInfinite) {
  for (const float bad :
       {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    auto x = values(100, 1);
    x[77] = bad;
    EXPECT_TRUE(std::isinf(norm(x)));
    for (const double e : topk_errors(x, std::vector<int64_t>{0, 50, 100}))
      EXPECT_EQ(e, std::numeric_limits<double>::infinity());
  }
  // The largest finite numbers are no infinity.
  EXPECT_TRUE(
      std::isfinite(topk_errors(std::vector<float>(9, 3.4e38f), std::vector<int64_t>{2})[0]));
}

// Rounds to multiples of its parameter; writes nothing into its message.
class Rounding : public BoundCodec {
 public:
  Rounding(std::vector<Range> parts, const Bucket& bucket, std::span<const double> parameters)
      : BoundCodec(std::move(parts)),
        bucket_(bucket),
        steps_(parameters.begin(), parameters.end()) {}
  int64_t bytes(int64_t) const override { return 64; }
  void encode(const MessageTag&, const EncodeInput& in, std::span<const std::span<std::byte>>,
              std::span<int64_t>) override {
    for (size_t s = 0; s < steps_.size(); ++s)
      for (int64_t i = 0; i < bucket_.segments[s].size; ++i) {
        const int64_t at = bucket_.segments[s].offset + i;
        const auto step = static_cast<float>(steps_[s]);
        in.shadow[at] = in.message[at] - step * std::nearbyint(in.message[at] / step);
      }
  }
  void decode_sum(int64_t, std::span<const MessageTag>, std::span<const std::span<const std::byte>>,
                  float, const uint64_t*, float*) override {}

 private:
  Bucket bucket_;
  std::vector<double> steps_;
};

class RoundingCodec : public Codec {
 public:
  CodecId id() const override { return CodecId::onebit; }
  std::string name() const override { return "rounding"; }
  bool lossy() const override { return true; }
  std::unique_ptr<BoundCodec> bind(const Bucket& bucket, std::vector<Range> parts,
                                   std::span<const double> parameters) const override {
    return std::make_unique<Rounding>(std::move(parts), bucket, parameters);
  }
};

TEST(CodecErrors, AreTheNormsOfWhatTheShadowKeeps) {
  const Bucket bucket = make_bucket({100, 0, 1, 999});
  const auto x = values(bucket.size, 3);
  const std::vector<double> steps{0.5, 0.01};
  const auto errors = codec_errors(RoundingCodec(), bucket, steps, x.data());
  ASSERT_EQ(errors.size(), 4u);
  for (size_t s = 0; s < errors.size(); ++s)
    for (size_t p = 0; p < steps.size(); ++p) {
      double sum = 0;
      for (int64_t i = 0; i < bucket.segments[s].size; ++i) {
        const float v = x[static_cast<size_t>(bucket.segments[s].offset + i)];
        const auto step = static_cast<float>(steps[p]);
        sum += std::pow(static_cast<double>(v - step * std::nearbyint(v / step)), 2);
      }
      EXPECT_NEAR(errors[s][p], std::sqrt(sum), 1e-12) << s << " " << p;
    }
}

// The whole table of top-k in two passes is what the codec loses, density by density.
TEST(CodecErrors, TopKTablesAreTheCodecs) {
  const Bucket bucket{0, 30000, {{"matrix", 0, 30000, 100, 300, true}}};
  const auto x = values(bucket.size, 11);
  const std::vector<double> densities{0.0005, 0.01, 0.3};
  std::vector<int64_t> kept;
  for (const double d : densities) kept.push_back(topk_count(d, bucket.size));
  const auto codec = codec_errors(*make_topk_codec(), bucket, densities, x.data())[0];
  const auto table = topk_errors(x, kept);
  for (size_t i = 0; i < table.size(); ++i) EXPECT_NEAR(table[i], codec[i], 1e-12 * codec[i]);
}

// Max-min groups of 512, nearest level, from the formula in fp64; bytes from docs/protocol.md's
// layout: bits an element, 8 bytes a group, 1 a segment and words of 64 elements at most as
// padding.
TEST(CodecErrors, BitsFollowTheFormula) {
  const Bucket bucket{0, 2000, {{"matrix", 0, 2000, 20, 100, true}}};
  const auto x = values(bucket.size, 12);
  const std::vector<double> bits{1, 4, 8};
  const auto codec = make_bits_codec();
  const auto errors = codec_errors(*codec, bucket, bits, x.data())[0];
  const auto bytes = codec_bytes(*codec, 20, 100, bits, x.data());
  for (size_t b = 0; b < bits.size(); ++b) {
    double sum = 0;
    for (size_t from = 0; from < x.size(); from += 512) {
      const auto end = x.begin() + static_cast<int64_t>(std::min(from + 512, x.size()));
      const auto begin = x.begin() + static_cast<int64_t>(from);
      const double low = *std::min_element(begin, end), high = *std::max_element(begin, end);
      const double step = (high - low) / (std::exp2(bits[b]) - 1);
      for (auto v = begin; v != end; ++v)
        sum += std::pow(*v - low - step * std::nearbyint((*v - low) / step), 2);
    }
    // Levels in fp32: each is off by some 1e-7 of the range, against a step of 4e-3 of it.
    EXPECT_NEAR(errors[b], std::sqrt(sum), 1e-4 * std::sqrt(sum)) << bits[b];
    const double plain = bits[b] * 2000 / 8 + 8 * 4 + 1;
    EXPECT_GE(bytes[b], plain);
    EXPECT_LE(bytes[b], plain + 16 * bits[b] + 8);
  }
}

}  // namespace
}  // namespace terse::testing
