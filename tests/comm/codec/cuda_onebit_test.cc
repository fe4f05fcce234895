#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "comm/codec/onebit.h"
#include "tests/comm/codec/cuda_codec.h"

namespace terse::testing {
namespace {

TEST(CudaOneBit, EqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  for (const auto& sizes : kShapes)
    for (const int64_t parts : {1, 3, 70})
      for (const ScaleKind scale : {ScaleKind::l1, ScaleKind::rms})
        for (const int64_t block : {0, 64, 4096}) {
          SCOPED_TRACE(::testing::Message()
                       << "segments " << sizes.size() << " parts " << parts << " block " << block);
          const Bucket bucket = make_bucket(sizes);
          if (parts == 70 && sizes.size() != 4) continue;  // more parts than one launch takes
          compare(*make_onebit_codec({.scale = scale, .block = block}), bucket, parts,
                  {values(bucket.size, 1), values(bucket.size, 2), {}, true});
          if (HasFatalFailure()) return;
        }
}

TEST(CudaOneBit, DeadZeroAndAwkwardNumbers) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({5000, 3, 200, 9000});
  const auto n = static_cast<size_t>(bucket.size);
  const std::vector<float> zeros(n, 0.0f), faint(n, -1e-30f), huge(n, 3e38f);
  for (const ScaleKind scale : {ScaleKind::l1, ScaleKind::rms})
    for (const auto& message : {values(bucket.size, 5), awkward(bucket.size), zeros, faint, huge})
      for (const bool dead : {false, true}) {
        const auto live = dead ? two_thirds_alive(bucket.size) : std::vector<uint64_t>{};
        compare(*make_onebit_codec({.scale = scale}), bucket, 3, {message, {}, live, true});
        compare(*make_onebit_codec({.scale = scale}), bucket, 2, {message, zeros, live, false});
        if (HasFatalFailure()) return;
      }
}

// More ranks than one launch takes.
TEST(CudaOneBit, SumsManyRanksInOrder) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({300, 100});
  const auto codec = make_onebit_codec();
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

TEST(CudaOneBit, ANanStaysInItsGroup) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({100, 100});
  auto message = values(bucket.size, 8);
  message[3] = std::numeric_limits<float>::quiet_NaN();
  const auto gpu = on_gpu(*make_onebit_codec(), bucket, 1);
  const Sent sent = encode_on_gpu(*gpu, tag_of(0), {message, values(bucket.size, 9), {}, true});
  const auto decoded = sum_on_gpu(*gpu, 0, {sent}, 1.0f, {});
  EXPECT_TRUE(std::isnan(decoded[50]));
  EXPECT_TRUE(std::isnan(sent.shadow[50]));
  EXPECT_TRUE(std::isfinite(decoded[150]));
}

// Byte offset in the header, and what the message must say.
TEST(CudaOneBit, SaysWhatIsWrongWithAMessage) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({100});
  const auto codec = make_onebit_codec();
  for (const auto& [offset, what] :
       std::vector<std::pair<size_t, std::string>>{{0, "magic number"},
                                                   {7, "checksum"},
                                                   {8, "bucket"},
                                                   {12, "sender"},
                                                   {16, "step"},
                                                   {24, "first element"},
                                                   {32, "number of elements"},
                                                   {40, "payload length"},
                                                   {56, "reserved"}}) {
    const auto gpu = on_gpu(*codec, bucket, 1);
    std::vector<Sent> sent(2, encode_on_gpu(*gpu, tag_of(0), {values(100, 1), {}, {}, true}));
    sent[1] = encode_on_gpu(*gpu, tag_of(1), {values(100, 2), {}, {}, true});
    sent[1].bytes[offset] ^= std::byte{1};
    try {
      sum_on_gpu(*gpu, 0, sent, 1.0f, {});
      ADD_FAILURE() << what << " went unnoticed";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::disagree);
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("rank 1"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace terse::testing
