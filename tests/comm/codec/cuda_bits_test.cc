#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "comm/codec/bits.h"
#include "tests/comm/codec/cuda_codec.h"

namespace terse::testing {
namespace {

using Scaling = BitsOptions::Scaling;
using Rounding = BitsOptions::Rounding;

int least_bits(Scaling scaling) {
  return scaling == Scaling::norm ? 2 : 1;
}

TEST(CudaBits, EveryWidthEqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({5000, 3, 200, 9000});
  for (const Scaling scaling : {Scaling::max_min, Scaling::norm})
    for (int bits = least_bits(scaling); bits <= 8; ++bits)
      for (const Rounding rounding : {Rounding::nearest, Rounding::stochastic}) {
        SCOPED_TRACE(::testing::Message() << bits << " bits");
        compare(
            *make_bits_codec(
                {.bits = bits, .scaling = scaling, .rounding = rounding, .seed = 1234567890123}),
            bucket, 3, {values(bucket.size, 1), values(bucket.size, 2), {}, true});
        if (HasFatalFailure()) return;
      }
}

TEST(CudaBits, EveryShapeEqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  for (const auto& sizes : kShapes)
    for (const int64_t parts : {1, 3, 70})
      for (const int64_t block : {0, 64, 512, 8192}) {
        if (parts == 70 && sizes.size() != 4) continue;  // more parts than one launch takes
        SCOPED_TRACE(::testing::Message()
                     << "segments " << sizes.size() << " parts " << parts << " block " << block);
        const Bucket bucket = make_bucket(sizes);
        for (const Scaling scaling : {Scaling::max_min, Scaling::norm})
          compare(*make_bits_codec({.bits = 5, .scaling = scaling, .block = block}), bucket, parts,
                  {values(bucket.size, 1), values(bucket.size, 2), {}, true});
        if (HasFatalFailure()) return;
      }
}

TEST(CudaBits, SegmentsOfTheirOwnWidths) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({1000, 0, 77, 5000, 64, 1, 1, 1, 1, 130});
  const std::vector<double> bits{2, 3, 8, 3, 7, 4, 5, 6, 2, 4};
  for (const Scaling scaling : {Scaling::max_min, Scaling::norm})
    compare(*make_bits_codec({.scaling = scaling}), bucket, 3,
            {values(bucket.size, 3), values(bucket.size, 4), {}, true}, bits);
}

TEST(CudaBits, DeadZeroAndAwkwardNumbers) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({5000, 3, 200, 9000});
  const auto n = static_cast<size_t>(bucket.size);
  const std::vector<float> zeros(n, 0.0f), faint(n, -1e-30f), huge(n, 3e38f);
  for (const Scaling scaling : {Scaling::max_min, Scaling::norm})
    for (const Rounding rounding : {Rounding::nearest, Rounding::stochastic})
      for (const auto& message : {values(bucket.size, 5), awkward(bucket.size), zeros, faint, huge})
        for (const bool dead : {false, true}) {
          const auto live = dead ? two_thirds_alive(bucket.size) : std::vector<uint64_t>{};
          const auto codec = make_bits_codec({.bits = 3, .scaling = scaling, .rounding = rounding});
          compare(*codec, bucket, 3, {message, {}, live, true});
          compare(*codec, bucket, 2, {message, zeros, live, false});
          if (HasFatalFailure()) return;
        }
}

// More ranks than one launch takes.
TEST(CudaBits, SumsManyRanksInOrder) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({300, 100});
  const auto codec = make_bits_codec({.bits = 4, .block = 64});
  const auto cpu = codec->bind(bucket, chunks(bucket.size, 2));
  const auto gpu = on_gpu(*codec, bucket, 2);
  std::vector<Sent> sent;
  for (uint32_t rank = 0; rank < 131; ++rank) {
    sent.push_back(encode_on_cpu(*cpu, tag_of(rank), {values(bucket.size, rank), {}, {}, true}));
    without_checksums(sent.back());
  }
  for (const int64_t j : {0, 1})
    EXPECT_EQ(patterns(sum_on_cpu(*cpu, j, sent, 1.0f / 131, nullptr)),
              patterns(sum_on_gpu(*gpu, j, sent, 1.0f / 131, {})));
}

// Twice on one binding: what the first call left in scratch is not what the second sees.
TEST(CudaBits, NoCallSeesTheOneBefore) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({5000, 3});
  const auto codec = make_bits_codec({.bits = 2, .block = 0});
  const auto gpu = on_gpu(*codec, bucket, 2);
  std::vector<float> large = values(bucket.size, 6);
  for (float& x : large) x *= 1000;
  encode_on_gpu(*gpu, tag_of(0), {large, {}, {}, true});
  const Inputs in{values(bucket.size, 7), {}, {}, true};
  EXPECT_EQ(encode_on_gpu(*gpu, tag_of(0), in).bytes,
            encode_on_gpu(*on_gpu(*codec, bucket, 2), tag_of(0), in).bytes);
}

TEST(CudaBits, SaysThatAMessageIsAnothers) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({100});
  const auto gpu = on_gpu(*make_bits_codec(), bucket, 1);
  std::vector<Sent> sent{encode_on_gpu(*gpu, tag_of(0), {values(100, 1), {}, {}, true})};
  sent[0].bytes[16] ^= std::byte{1};
  try {
    sum_on_gpu(*gpu, 0, sent, 1.0f, {});
    ADD_FAILURE() << "another step's message went unnoticed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::disagree);
    EXPECT_NE(std::string(error.what()).find("step"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace terse::testing
