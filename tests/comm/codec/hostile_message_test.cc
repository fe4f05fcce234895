// A decoder that survives any bytes: every defect is an Error that names it.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "comm/codec/dense_codec.h"
#include "comm/codec/onebit.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

const MessageTag kTag{.bucket = 3, .sender = 1, .step = 7, .stage = 0};
const std::vector<int64_t> kSizes = {100, 4100, 33};

std::vector<std::byte> good_message(const Bucket& bucket) {
  auto bound = make_onebit_codec()->bind(bucket, {{0, bucket.size}});
  Messages messages(*bound);
  const auto x = values(bucket.size, 1);
  bound->encode(kTag, {.message = x.data()}, messages.rooms, messages.used);
  return messages.copy(0);
}

// The text of the Error, or "" if the message was accepted.
std::string complaint(std::span<const std::byte> message, const MessageTag& tag = kTag) {
  const Bucket bucket = make_bucket(kSizes);
  std::vector<float> out(static_cast<size_t>(bucket.size));
  try {
    decode_onebit_message(message, tag, bucket, {}, out);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::disagree);
    return error.what();
  }
  return "";
}

TEST(HostileMessage, GoodIsAccepted) {
  EXPECT_EQ(complaint(good_message(make_bucket(kSizes))), "");
}

TEST(HostileMessage, EveryHeaderFieldIsNamed) {
  const auto good = good_message(make_bucket(kSizes));
  const std::pair<size_t, const char*> fields[] = {
      {0, "magic"},           {4, "version"},
      {5, "codec"},           {6, "stage"},
      {7, "flags"},           {8, "bucket is"},
      {12, "sender is"},      {16, "step is"},
      {24, "first element"},  {32, "number of elements"},
      {40, "payload length"}, {48, "checksum"},
      {56, "reserved"}};
  for (const auto& [offset, name] : fields) {
    auto bad = good;
    bad[offset] ^= std::byte{0x42};
    EXPECT_NE(complaint(bad).find(name), std::string::npos) << complaint(bad);
  }
}

TEST(HostileMessage, OtherTagsAreRefused) {
  const auto good = good_message(make_bucket(kSizes));
  for (const MessageTag& tag : {MessageTag{2, 1, 7, 0}, MessageTag{3, 0, 7, 0},
                                MessageTag{3, 1, 8, 0}, MessageTag{3, 1, 7, 1}})
    EXPECT_NE(complaint(good, tag), "");
}

TEST(HostileMessage, EveryLengthIsRefused) {
  auto message = good_message(make_bucket(kSizes));
  for (size_t n = 0; n < message.size(); ++n)
    ASSERT_NE(complaint(std::span(message).first(n)), "") << n;
  message.resize(message.size() + 8);
  EXPECT_NE(complaint(message), "");
}

TEST(HostileMessage, EveryFlippedBitIsRefused) {
  auto message = good_message(make_bucket(kSizes));
  for (size_t bit = 0; bit < message.size() * 8; bit += 3) {
    message[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(complaint(message), "") << bit;
    message[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST(HostileMessage, RandomBytes) {
  uint64_t state = 1;
  const auto good = good_message(make_bucket(kSizes));
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::byte> message(round % 2 == 0 ? good.size() : state % 900);
    for (auto& byte : message) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<std::byte>(state >> 56);
    }
    if (round % 4 == 0) std::memcpy(message.data(), good.data(), 48);  // a credible header
    ASSERT_NE(complaint(message), "");
  }
}

TEST(HostileMessage, WithoutChecksumPaddingIsChecked) {
  const Bucket bucket = make_bucket(kSizes);
  const OneBitOptions options{.checksum = false};
  auto bound = make_onebit_codec(options)->bind(bucket, {{0, bucket.size}});
  Messages messages(*bound);
  const auto x = values(bucket.size, 1);
  bound->encode(kTag, {.message = x.data()}, messages.rooms, messages.used);
  auto bytes = messages.copy(0);
  EXPECT_EQ(complaint(bytes), "");
  const size_t last_word = 64 + static_cast<size_t>(bucket.size / 64) * 8;
  bytes[last_word + 7] ^= std::byte{0x80};
  EXPECT_NE(complaint(bytes).find("padding"), std::string::npos);
}

TEST(HostileMessage, DenseMessagesToo) {
  const Bucket bucket = make_bucket({77});
  const auto x = values(bucket.size, 1);
  std::vector<float> out(77);
  for (const CodecId id : {CodecId::fp32, CodecId::bf16}) {
    auto bound = make_dense_codec(id)->bind(bucket, {{0, bucket.size}});
    Messages messages(*bound);
    bound->encode(kTag, {.message = x.data()}, messages.rooms, messages.used);
    for (size_t n = 0; n < messages.view(0).size(); ++n) {
      const auto cut = messages.view(0).first(n);
      EXPECT_THROW(
          bound->decode_sum(0, std::span(&kTag, 1), std::span(&cut, 1), 1, nullptr, out.data()),
          Error);
    }
  }
}

}  // namespace
}  // namespace terse::testing
