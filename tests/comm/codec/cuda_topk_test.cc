#include <gtest/gtest.h>

#include <algorithm>

#include "comm/codec/topk.h"
#include "tests/comm/codec/cuda_codec.h"

namespace terse::testing {
namespace {

// Every third segment is sent whole.
std::vector<double> densities(const Bucket& bucket, double density) {
  std::vector<double> all(bucket.segments.size(), density);
  for (size_t s = 2; s < all.size(); s += 3) all[s] = 1;
  return all;
}

TEST(CudaTopK, EveryShapeEqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  for (const auto& sizes : kShapes)
    for (const int64_t parts : {1, 3, 70})
      for (const double density : {0.001, 0.03, 0.4})
        for (const bool bf16 : {false, true}) {
          if (parts == 70 && sizes.size() != 4) continue;
          SCOPED_TRACE(::testing::Message() << "segments " << sizes.size() << " parts " << parts
                                            << " density " << density << " bf16 " << bf16);
          const Bucket bucket = make_bucket(sizes);
          compare(*make_topk_codec({.bf16_values = bf16}), bucket, parts,
                  {values(bucket.size, 1), values(bucket.size, 2), {}, true},
                  densities(bucket, density));
          if (HasFatalFailure()) return;
        }
}

// Fewer than k are not zero; equal magnitudes of both signs, many more than k; numbers that bf16
// rounds to zero; infinite differences; and masks under which k itself is another.
TEST(CudaTopK, DeadZeroTiedAndAwkwardNumbers) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({9000, 70, 200, 20000});
  const auto n = static_cast<size_t>(bucket.size);
  std::vector<float> zeros(n, 0.0f), tied(n, 1.0f), faint(n, -1e-42f), few(n, 0.0f);
  for (size_t i = 0; i < n; i += 2) tied[i] = -1.0f;
  few[5] = 2.0f, few[8999] = -3.0f, few[9001] = 1.0f;
  for (const bool bf16 : {false, true})
    for (const auto& message :
         {values(bucket.size, 5), awkward(bucket.size), zeros, tied, faint, few})
      for (const bool dead : {false, true}) {
        const auto live = dead ? two_thirds_alive(bucket.size) : std::vector<uint64_t>{};
        const auto codec = make_topk_codec({.bf16_values = bf16});
        compare(*codec, bucket, 3, {message, {}, live, true}, densities(bucket, 0.01));
        compare(*codec, bucket, 2, {message, zeros, live, false}, densities(bucket, 0.2));
        if (HasFatalFailure()) return;
      }
}

// From the definition, without the CPU's codec: all that is kept is at most what is sent, nothing
// is lost, and as many are sent as the density says.
TEST(CudaTopK, SendsTheLargestAndKeepsTheRest) {
  TERSE_NEEDS_GPUS(1);
  Bucket bucket = make_bucket({50000});
  bucket.segments[0].rows = 100, bucket.segments[0].columns = 500;
  const auto message = values(bucket.size, 3);
  const auto gpu = on_gpu(*make_topk_codec({.density = 0.01}), bucket, 1);
  const Sent sent = encode_on_gpu(*gpu, tag_of(0), {message, {}, {}, true});
  const auto decoded = sum_on_gpu(*gpu, 0, {sent}, 1.0f, {});
  ASSERT_EQ(sent.selected.size(), 500u);
  float least = 1, most = 0;
  for (size_t i = 0; i < message.size(); ++i) {
    EXPECT_EQ(decoded[i] + sent.shadow[i], message[i]);
    if (decoded[i] != 0)
      least = std::min(least, std::abs(decoded[i]));
    else
      most = std::max(most, std::abs(message[i]));
  }
  EXPECT_LE(most, least);
}

// A mask that comes and goes: k is that of this call.
TEST(CudaTopK, NoCallSeesTheOneBefore) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({9000, 3, 20});
  const auto codec = make_topk_codec();
  const auto kinds = densities(bucket, 0.02);
  const auto gpu = on_gpu(*codec, bucket, 2, kinds);
  const auto cpu = codec->bind(bucket, chunks(bucket.size, 2), kinds);
  for (const bool dead : {true, false, true, false}) {
    Inputs in{values(bucket.size, dead ? 7 : 8), {}, {}, true};
    if (dead) in.live = two_thirds_alive(bucket.size);
    const Sent sent = encode_on_gpu(*gpu, tag_of(0), in);
    EXPECT_EQ(sent.bytes, encode_on_cpu(*cpu, tag_of(0), in).bytes);
    EXPECT_EQ(sent.bytes, encode_on_gpu(*on_gpu(*codec, bucket, 2, kinds), tag_of(0), in).bytes);
  }
}

TEST(CudaTopK, SaysWhatIsWrongWithAMessage) {
  TERSE_NEEDS_GPUS(1);
  const Bucket bucket = make_bucket({1000});
  const std::vector<double> density{0.1};
  const auto gpu = on_gpu(*make_topk_codec({.checksum = false}), bucket, 1, density);
  for (const auto& [offset, what] : std::vector<std::pair<size_t, std::string>>{
           {16, "step"}, {40, "payload"}, {64, "entries"}, {64 + 3, "indices"}}) {
    std::vector<Sent> sent{encode_on_gpu(*gpu, tag_of(0), {values(1000, 1), {}, {}, true})};
    sent[0].bytes[offset] ^= std::byte{offset == 67 ? uint8_t{128} : uint8_t{1}};
    try {
      sum_on_gpu(*gpu, 0, sent, 1.0f, {});
      ADD_FAILURE() << what << " went unnoticed";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::disagree);
      EXPECT_NE(std::string(error.what()).find(what), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace terse::testing
