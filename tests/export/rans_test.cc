// The byte coder and the plane coder against what went in, and against the entropy of the source.
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

#include "base/error.h"
#include "base/half.h"
#include "base/isa.h"
#include "export/byte_planes.h"
#include "export/kernels/declarations.h"
#include "export/rans.h"

namespace terse {
namespace {

const std::string kPath = "test";

class EveryIsa : public ::testing::TestWithParam<Isa> {
 protected:
  void SetUp() override {
    if (!isa_supported(GetParam())) GTEST_SKIP();
    best_ = isa();
    force_isa(GetParam());
  }
  void TearDown() override {
    if (isa_supported(GetParam())) force_isa(best_);
  }

 private:
  Isa best_ = Isa::scalar;
};

std::vector<std::byte> encoded(std::span<const uint8_t> run) {
  std::vector<std::byte> out;
  rans_encode_run(run, out);
  return out;
}

std::vector<uint8_t> decoded(std::span<const std::byte> bytes, size_t count) {
  ByteCursor in(bytes, kPath, "run");
  std::vector<uint8_t> out(count);
  rans_decode_run(in, out);
  EXPECT_EQ(in.left(), 0u);
  return out;
}

// Symbols with geometric probabilities: entropy known.
std::vector<uint8_t> geometric(size_t count, double p, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::geometric_distribution<int> draw(p);
  std::vector<uint8_t> out(count);
  for (uint8_t& b : out) b = static_cast<uint8_t>(std::min(draw(random), 255));
  return out;
}

TEST_P(EveryIsa, RunsOfEveryLengthComeBack) {
  for (size_t n = 0; n < 300; ++n)
    for (const double p : {0.99, 0.5, 0.02}) {
      const auto run = geometric(n, p, n);
      EXPECT_EQ(decoded(encoded(run), n), run) << n << " " << p;
    }
  for (const size_t n : {size_t{4096}, size_t{100001}, static_cast<size_t>(kRansRun)}) {
    const auto run = geometric(n, 0.4, n);
    EXPECT_EQ(decoded(encoded(run), n), run) << n;
  }
}

TEST_P(EveryIsa, ExtremesComeBack) {
  std::vector<uint8_t> run(static_cast<size_t>(kRansRun), 7);
  EXPECT_EQ(decoded(encoded(run), run.size()), run);
  run[1000] = 8;  // one of 2^18 has a frequency of 1 of 4096
  EXPECT_EQ(decoded(encoded(run), run.size()), run);
  for (size_t i = 0; i < run.size(); ++i) run[i] = static_cast<uint8_t>(i * i % 256);
  EXPECT_EQ(decoded(encoded(run), run.size()), run);
  std::iota(run.begin(), run.end(), uint8_t{0});  // uniform: stored as it is
  EXPECT_EQ(encoded(run).size(), run.size() + 1);
}

// Shannon's bound: 12-bit frequencies cost less than 0.1 % on such a source.
TEST_P(EveryIsa, SizeIsTheEntropy) {
  const auto run = geometric(static_cast<size_t>(kRansRun), 0.5, 1);  // 2 bits a symbol
  const double bits =
      8.0 * static_cast<double>(encoded(run).size()) / static_cast<double>(run.size());
  EXPECT_GT(bits, 1.98);  // of the sample, which strays from 2 by 0.003
  EXPECT_LT(bits, 2.02);
}

TEST(Rans, EveryInstructionSetWritesTheSameBytes) {
  const Isa best = isa();
  for (const size_t n : {31, 32, 33, 5000, 65536}) {
    const auto run = geometric(n, 0.3, n);
    force_isa(Isa::scalar);
    const auto reference = encoded(run);
    for (const Isa other : {Isa::avx2, Isa::avx512}) {
      if (!isa_supported(other)) continue;
      force_isa(other);
      EXPECT_EQ(encoded(run), reference) << n;
    }
    force_isa(best);
  }
}

// At both ends of what each quotient is the floor for, where a rounding shows first.
TEST(Rans, QuotientsAreExactAsFarAsTheyAreUsed) {
  const auto wrong = [](uint32_t frequency, uint64_t quotient) {
    const auto [magic, shift] = rans_quotient(frequency);
    const auto of = [&](uint64_t x) { return (x * magic >> 32) >> shift; };
    return of(quotient * frequency) != quotient ||
           of(quotient * frequency + frequency - 1) != quotient;
  };
  constexpr uint64_t kMost = (1u << 20) - 1;
  std::mt19937_64 random(7);
  for (uint32_t frequency = 2; frequency <= RansQuotient::kMostOften; ++frequency) {
    EXPECT_FALSE(wrong(frequency, kMost) || wrong(frequency, 0)) << frequency;
    for (int k = 0; k < 50; ++k) EXPECT_FALSE(wrong(frequency, random() & kMost)) << frequency;
  }
  EXPECT_TRUE(wrong(2964, kMost));
}

// Alphabets on both sides of what fits in registers, at both ends of the bytes, and frequencies up
// to both sides of what the short reciprocals bear.
TEST(Rans, FewSymbolsAreWrittenAsManyAre) {
  const Isa best = isa();
  std::mt19937_64 random(5);
  for (const int symbols : {2, 15, 16, 17, 31, 32, 33, 64})
    for (const double most : {0.02, 0.5, 0.705, 0.706, 0.707, 0.708, 0.9, 0.9999}) {
      std::vector<uint8_t> run(20000);
      std::bernoulli_distribution often(most);
      for (uint8_t& b : run)
        b = static_cast<uint8_t>(often(random) ? 250
                                               : 250 + random() % static_cast<uint64_t>(symbols));
      force_isa(Isa::scalar);
      const auto reference = encoded(run);
      EXPECT_EQ(decoded(reference, run.size()), run);
      for (const Isa other : {Isa::avx2, Isa::avx512}) {
        if (!isa_supported(other)) continue;
        force_isa(other);
        EXPECT_EQ(encoded(run), reference) << symbols << " " << most;
      }
      force_isa(best);
    }
}

TEST(Rans, DamageIsAnErrorOrHarmless) {
  const auto run = geometric(2000, 0.5, 3);
  const auto whole = encoded(run);
  for (size_t cut = 0; cut < whole.size(); ++cut)
    EXPECT_THROW(decoded(std::span(whole).first(cut), run.size()), Error) << cut;
  int noticed = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    auto damaged = whole;
    damaged[i] ^= std::byte{0x10};
    try {
      EXPECT_NE(decoded(damaged, run.size()), run) << i;
    } catch (const Error&) {
      ++noticed;
    }
  }
  // The states at the end catch what the checksum of the file would, too.
  EXPECT_GT(noticed, static_cast<int>(whole.size()) * 9 / 10);
}

std::vector<std::byte> planes_of(DType dtype, std::span<const std::byte> data, size_t piece) {
  PlaneEncoder encoder(dtype);
  std::vector<std::byte> out;
  for (size_t at = 0; at < data.size(); at += piece)
    encoder.add(data.subspan(at, std::min(piece, data.size() - at)), out);
  encoder.finish(out);
  return out;
}

std::vector<std::byte> elements_of(DType dtype, std::span<const std::byte> coded, int64_t count) {
  ByteCursor in(coded, kPath, "planes");
  std::vector<std::byte> out;
  decode_planes(dtype, count, in, [&](std::span<const std::byte> part) {
    out.insert(out.end(), part.begin(), part.end());
  });
  EXPECT_EQ(in.left(), 0u);
  return out;
}

TEST_P(EveryIsa, EveryBf16PatternComesBack) {
  std::vector<uint16_t> all(65536);
  std::iota(all.begin(), all.end(), uint16_t{0});
  const auto bytes = std::as_bytes(std::span(all));
  const auto back = elements_of(DType::bf16, planes_of(DType::bf16, bytes, 1000), 65536);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), back.begin(), back.end()));
}

TEST_P(EveryIsa, EveryTypeComesBackInPiecesOfAnySize) {
  std::mt19937_64 random(5);
  for (const DType dtype :
       {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64, DType::i8}) {
    const auto width = static_cast<size_t>(dtype_size(dtype));
    for (const size_t count :
         {size_t{0}, size_t{1}, size_t{77}, size_t{300001}, (size_t{1} << 20) + 5}) {
      std::vector<std::byte> data(count * width);
      for (std::byte& b : data) b = static_cast<std::byte>(random() % 7);
      for (const size_t piece : {count > 300001 ? size_t{1} << 24 : size_t{13}, size_t{1} << 20})
        EXPECT_EQ(elements_of(dtype, planes_of(dtype, data, piece), static_cast<int64_t>(count)),
                  data)
            << dtype_name(dtype) << " " << count << " " << piece;
    }
  }
}

// DFloat11's figure: about 11 of 16 bits for weights.
TEST(Planes, GaussianWeightsTakeElevenBits) {
  std::mt19937_64 random(6);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<uint16_t> half(1 << 18);
  std::vector<float> whole, widened;
  for (uint16_t& h : half) {
    const float x = normal(random);
    h = bf16_from_float(x);
    whole.push_back(x);
    widened.push_back(bf16_to_float(h));
  }
  const auto bits = [](DType dtype, std::span<const std::byte> data) {
    return 8.0 * static_cast<double>(planes_of(dtype, data, data.size()).size()) / (1 << 18);
  };
  EXPECT_LT(bits(DType::bf16, std::as_bytes(std::span(half))), 10.7);
  EXPECT_LT(bits(DType::f32, std::as_bytes(std::span(whole))), 26.7);
  EXPECT_LT(bits(DType::f32, std::as_bytes(std::span(widened))), 10.75);
}

INSTANTIATE_TEST_SUITE_P(Isas, EveryIsa, ::testing::Values(Isa::scalar, Isa::avx2, Isa::avx512),
                         [](const auto& test) { return isa_name(test.param); });

}  // namespace
}  // namespace terse
