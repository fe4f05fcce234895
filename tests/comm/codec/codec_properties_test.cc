// What every codec promises (comm/codec/codec.h), whatever it sends.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>

#include "tests/comm/codec/codec_cases.h"

namespace terse::testing {
namespace {

class EveryCodec : public ::testing::TestWithParam<CodecCase> {
 protected:
  static std::unique_ptr<BoundCodec> bind(const Bucket& bucket, int64_t parts) {
    return GetParam().make(true)->bind(bucket, chunks(bucket.size, parts),
                                       GetParam().parameters(bucket));
  }
  static Result run(const Bucket& bucket, int64_t parts, const std::vector<float>& message,
                    const std::vector<float>& residual, const uint64_t* live = nullptr) {
    return testing::run(*GetParam().make(true), bucket, parts, message, residual, live,
                        GetParam().parameters(bucket));
  }
  static void check_round_trip(const std::vector<int64_t>& sizes, int64_t parts,
                               const std::vector<float>& message,
                               const std::vector<float>& residual);
};

INSTANTIATE_TEST_SUITE_P(Codec, EveryCodec, ::testing::ValuesIn(codec_cases()), case_name);

// The residual is what decoding leaves of message + residual, exactly; sizes are known beforehand.
void EveryCodec::check_round_trip(const std::vector<int64_t>& sizes, int64_t parts,
                                  const std::vector<float>& message,
                                  const std::vector<float>& residual) {
  SCOPED_TRACE(::testing::Message() << sizes.size() << " segments, first "
                                    << (sizes.empty() ? 0 : sizes[0]) << ", parts " << parts);
  const Bucket bucket = make_bucket(sizes);
  const Result got = run(bucket, parts, message, residual);
  ASSERT_EQ(got.decoded.size(), message.size());
  for (size_t i = 0; i < message.size(); ++i) {
    const float x = message[i] + residual[i];
    ASSERT_TRUE(std::isfinite(got.decoded[i])) << i << ": " << x;
    ASSERT_EQ(got.shadow[i], x - got.decoded[i]) << i;
  }
  const auto bound = bind(bucket, parts);
  for (int64_t j = 0; j < bound->parts(); ++j) {
    const auto bytes = static_cast<int64_t>(got.messages[static_cast<size_t>(j)].size());
    if (bound->fixed_size())
      ASSERT_EQ(bytes, bound->bytes(j)) << j;
    else
      ASSERT_LE(bytes, bound->bytes(j)) << j;
  }
}

TEST_P(EveryCodec, RoundTrips) {
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    for (const auto& sizes : kShapes) {
      const int64_t n = make_bucket(sizes).size;
      for (const int64_t parts : {1, 2, 3, 4, 5, 7})
        check_round_trip(sizes, parts, values(n, 1), values(n, 2));
      if (HasFatalFailure()) return;
    }
  }
  const int64_t million = (1 << 20) + 5;
  check_round_trip({million}, 3, values(million, 1), values(million, 2));
}

TEST_P(EveryCodec, AwkwardNumbers) {
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    const std::vector<float> zero(1067, 0.0f);
    check_round_trip({1003, 64}, 2, awkward(1067), zero);
    for (const float x : {0.0f, -0.0f, 1e-42f, -1e-30f, 3e38f, -3e38f})
      check_round_trip({1003, 64}, 2, std::vector<float>(1067, x), zero);
  }
}

TEST_P(EveryCodec, SameBytesForEveryInstructionSetThreadCountAndCut) {
  const Bucket bucket = make_bucket({70000, 3, 4093, 1 << 16, 77});
  for (const auto& message : {values(bucket.size, 5), awkward(bucket.size)}) {
    const auto residual = values(bucket.size, 6);
    const Result first = run(bucket, 3, message, residual);
    for (const Isa isa : supported())
      for (const int threads : {1, 2, 3}) {
        const WithIsa with(isa);
        omp_set_num_threads(threads);
        const Result other = run(bucket, 3, message, residual);
        EXPECT_EQ(first.messages, other.messages) << isa_name(isa) << threads;
        EXPECT_EQ(patterns(first.shadow), patterns(other.shadow)) << isa_name(isa) << threads;
        EXPECT_EQ(patterns(first.decoded), patterns(other.decoded)) << isa_name(isa) << threads;
      }
    const Result whole = run(bucket, 1, message, residual);
    EXPECT_EQ(patterns(first.decoded), patterns(whole.decoded)) << "number of parts";
  }
  omp_set_num_threads(omp_get_num_procs());
}

TEST_P(EveryCodec, WorksOnUnalignedMemory) {
  const Bucket bucket = make_bucket({5000, 77});
  const auto message = values(bucket.size, 5), residual = values(bucket.size, 6);
  const Result aligned = run(bucket, 2, message, residual);
  auto m = message, e = residual;
  m.insert(m.begin(), 0.0f), e.insert(e.begin(), 0.0f);
  std::vector<float> shadow(m.size());
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    const auto bound = bind(bucket, 2);
    Messages messages(*bound);
    bound->encode(kTag, {m.data() + 1, e.data() + 1, shadow.data() + 1, nullptr}, messages.rooms,
                  messages.used);
    EXPECT_EQ(messages.copy(0), aligned.messages[0]);
    EXPECT_EQ(messages.copy(1), aligned.messages[1]);
    EXPECT_EQ(std::vector<float>(shadow.begin() + 1, shadow.end()), aligned.shadow);
    std::vector<float> out(static_cast<size_t>(bound->part(0).size()) + 1);
    const auto view = messages.view(0);
    bound->decode_sum(0, std::span(&kTag, 1), std::span(&view, 1), 1.0f, nullptr, out.data() + 1);
    for (size_t i = 0; i + 1 < out.size(); ++i) ASSERT_EQ(out[i + 1], aligned.decoded[i]) << i;
  }
}

TEST_P(EveryCodec, DeadCoordinatesTakeNoPart) {
  const Bucket bucket = make_bucket({100, 5000, 64, 3000});
  std::vector<uint64_t> live(static_cast<size_t>(bucket.size + 63) / 64, ~uint64_t{0});
  auto one = values(bucket.size, 3), other = one;
  for (int64_t i = 0; i < bucket.size; ++i)
    if (i % 3 == 0 || (i >= 5100 && i < 5164)) {  // a whole segment dead
      live[static_cast<size_t>(i / 64)] &= ~(uint64_t{1} << (i % 64));
      one[static_cast<size_t>(i)] = 1e6f;  // must not be seen
      other[static_cast<size_t>(i)] = std::numeric_limits<float>::quiet_NaN();
    }
  for (const Isa isa : supported()) {
    const WithIsa with(isa);
    const auto residual = values(bucket.size, 4);
    const Result a = run(bucket, 3, one, residual, live.data());
    const Result b = run(bucket, 3, other, residual, live.data());
    EXPECT_EQ(a.messages, b.messages);
    for (int64_t i = 0; i < bucket.size; ++i) {
      const auto at = static_cast<size_t>(i);
      const bool dead = !is_live(live.data(), i);
      ASSERT_EQ(a.shadow[at], dead ? 0.0f : one[at] + residual[at] - a.decoded[at]) << i;
      if (dead) {
        ASSERT_EQ(std::bit_cast<uint32_t>(a.decoded[at]), 0u) << i;
      }
    }
  }
}

TEST_P(EveryCodec, SumsMessagesInOrder) {
  const Bucket bucket = make_bucket({5000, 300});
  expect_sums_in_order(*bind(bucket, 2), bucket.size);
}

}  // namespace
}  // namespace terse::testing
