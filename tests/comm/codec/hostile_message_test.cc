// A decoder that survives any bytes: every defect is an Error that names it.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "tests/comm/codec/codec_cases.h"

namespace terse::testing {
namespace {

class HostileMessage : public ::testing::TestWithParam<CodecCase> {
 protected:
  std::vector<std::byte> good(bool checksum = true) const {
    const auto bound = GetParam().make(checksum)->bind(bucket_, {{0, bucket_.size}},
                                                       GetParam().parameters(bucket_));
    Messages messages(*bound);
    const auto x = values(bucket_.size, 1);
    bound->encode(kTag, {.message = x.data()}, messages.rooms, messages.used);
    return messages.copy(0);
  }

  // The text of the Error, or "" if the message was accepted.
  std::string complaint(std::span<const std::byte> message, const MessageTag& tag = kTag) const {
    std::vector<float> out(static_cast<size_t>(bucket_.size));
    try {
      decode_message(*GetParam().make(true), message, tag, bucket_, out,
                     GetParam().parameters(bucket_));
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::disagree);
      return error.what();
    }
    return "";
  }

  const Bucket bucket_ = make_bucket({100, 4100, 33});
};

INSTANTIATE_TEST_SUITE_P(Codec, HostileMessage, ::testing::ValuesIn(codec_cases()), case_name);

TEST_P(HostileMessage, GoodIsAccepted) {
  EXPECT_EQ(complaint(good()), "");
  EXPECT_EQ(complaint(good(false)), "");
}

TEST_P(HostileMessage, EveryHeaderFieldIsNamed) {
  const std::pair<size_t, const char*> fields[] = {
      {0, "magic"},           {4, "version"},
      {5, "codec"},           {6, "stage"},
      {7, "flags"},           {8, "bucket is"},
      {12, "sender is"},      {16, "step is"},
      {24, "first element"},  {32, "number of elements"},
      {40, "payload length"}, {48, "checksum"},
      {56, "reserved"}};
  for (const auto& [offset, name] : fields) {
    auto bad = good();
    bad[offset] ^= std::byte{0x42};
    EXPECT_NE(complaint(bad).find(name), std::string::npos) << complaint(bad);
  }
}

TEST_P(HostileMessage, OtherTagsAreRefused) {
  for (const MessageTag& tag : {MessageTag{2, 1, 7, 0}, MessageTag{3, 0, 7, 0},
                                MessageTag{3, 1, 8, 0}, MessageTag{3, 1, 7, 1}})
    EXPECT_NE(complaint(good(), tag), "");
}

TEST_P(HostileMessage, OtherLengthsAreRefused) {
  auto message = good();
  for (size_t n = 0; n < message.size(); n += n < 200 ? 1 : 7)
    ASSERT_NE(complaint(std::span(message).first(n)), "") << n;
  message.resize(message.size() + 8);
  EXPECT_NE(complaint(message), "");
}

TEST_P(HostileMessage, FlippedBitsAreRefused) {
  auto message = good();
  for (size_t bit = 0; bit < message.size() * 8; bit += bit < 2000 ? 3 : 41) {
    message[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(complaint(message), "") << bit;
    message[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

TEST_P(HostileMessage, RandomBytes) {
  uint64_t state = 1;
  const auto credible = good();
  for (int round = 0; round < 500; ++round) {
    std::vector<std::byte> message(round % 2 == 0 ? credible.size() : state % 900);
    for (auto& byte : message) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<std::byte>(state >> 56);
    }
    if (round % 4 == 0) std::memcpy(message.data(), credible.data(), 48);  // a credible header
    ASSERT_NE(complaint(message), "");
  }
}

// Every bit of a payload without a checksum matters or must be zero: flipping it is refused or
// decodes to something else.
TEST_P(HostileMessage, WithoutChecksumEveryBitMatters) {
  auto message = good(false);
  const auto decoded = [&] {
    std::vector<float> out(static_cast<size_t>(bucket_.size));
    decode_message(*GetParam().make(false), message, kTag, bucket_, out,
                   GetParam().parameters(bucket_));
    return patterns(out);
  };
  const auto before = decoded();
  for (size_t bit = kHeaderBytes * 8; bit < message.size() * 8; bit += 5) {
    message[bit / 8] ^= std::byte{1} << (bit % 8);
    if (complaint(message).empty()) {
      ASSERT_NE(decoded(), before) << "bit " << bit;
    }
    message[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

}  // namespace
}  // namespace terse::testing
