// A top-k decoder that survives any bytes: lengths, counts and indices come from the message.
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "comm/codec/topk.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

// Two matrices, one of them sent as a bitmap, and a vector that is sent whole.
Bucket bucket() {
  Bucket b = make_bucket({900, 4100, 33});
  b.segments[0].rows = 30, b.segments[0].columns = 30;
  b.segments[1].rows = 41, b.segments[1].columns = 100;
  return b;
}

std::vector<std::byte> good_message(const TopKOptions& options) {
  const Bucket b = bucket();
  auto bound = make_topk_codec(options)->bind(b, {{0, b.size}});
  Messages messages(*bound);
  const auto x = values(b.size, 1);
  bound->encode(kTag, {.message = x.data()}, messages.rooms, messages.used);
  return messages.copy(0);
}

// The text of the Error, or "" if the message was accepted.
std::string complaint(std::span<const std::byte> message, const TopKOptions& options) {
  const Bucket b = bucket();
  std::vector<float> out(static_cast<size_t>(b.size));
  try {
    decode_message(*make_topk_codec(options), message, kTag, b, out);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::disagree);
    return error.what();
  }
  return "";
}

const TopKOptions kChecked{.density = 0.05};
const TopKOptions kPlain{.density = 0.05, .checksum = false};
constexpr size_t kHeads = 64;
constexpr size_t kDense = kHeads + 8;
constexpr size_t kValues = kDense + 33 * 4;
constexpr size_t kIndices = kValues + (45 + 205) * 4;

template <typename T>
void put(std::vector<std::byte>& message, size_t at, T value) {
  std::memcpy(message.data() + at, &value, sizeof value);
}

TEST(HostileTopK, GoodIsAccepted) {
  for (const auto& options : {kChecked, kPlain, TopKOptions{.density = 0.3, .bf16_values = true}})
    EXPECT_EQ(complaint(good_message(options), options), "");
}

TEST(HostileTopK, EveryLengthIsRefused) {
  for (const auto& options : {kChecked, kPlain}) {
    const auto good = good_message(options);
    for (size_t n = 0; n < good.size(); ++n) {
      auto cut = std::vector(good.begin(), good.begin() + static_cast<ptrdiff_t>(n));
      ASSERT_NE(complaint(cut, options), "") << n;
      if (n < 64) continue;
      put(cut, 40, static_cast<uint64_t>(n - 64));  // a header that agrees
      ASSERT_NE(complaint(cut, kPlain), "") << n;
    }
    auto longer = good;
    longer.resize(good.size() + 8);
    put(longer, 40, static_cast<uint64_t>(longer.size() - 64));
    ASSERT_NE(complaint(longer, kPlain), "");
  }
}

TEST(HostileTopK, WrongCountsAreRefused) {
  const auto good = good_message(kPlain);
  for (const uint32_t head : {0u, 44u, 46u, 900u, 0x7fffffffu, 0x80000000u | 45u, 0xffffffffu}) {
    auto bad = good;
    put(bad, kHeads, head);
    EXPECT_NE(complaint(bad, kPlain), "") << head;
  }
  auto bad = good;
  put(bad, kHeads, 46u);
  EXPECT_NE(complaint(bad, kPlain).find("more entries"), std::string::npos);
}

TEST(HostileTopK, WrongIndicesAreRefused) {
  const auto good = good_message(kPlain);
  for (const int byte : {0x80, 0xff}) {  // a gap that swallows the next ones
    auto bad = good;
    bad[kIndices + 3] = static_cast<std::byte>(byte);
    EXPECT_NE(complaint(bad, kPlain).find("indices"), std::string::npos);
  }
  auto bad = good;
  for (size_t i = 0; i < 5; ++i) bad[kIndices + i] = std::byte{0xff};
  EXPECT_NE(complaint(bad, kPlain).find("indices"), std::string::npos);
}

TEST(HostileTopK, EveryFlippedBitIsRefused) {
  auto message = good_message(kChecked);
  for (size_t bit = 0; bit < message.size() * 8; bit += 3) {
    message[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_NE(complaint(message, kChecked), "") << bit;
    message[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

// Without a checksum a changed message may be valid; it must then decode inside its bounds, which
// the address sanitizer watches.
TEST(HostileTopK, RandomBytesBehindACredibleHeader) {
  uint64_t state = 1;
  const auto next = [&] {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
  };
  for (const double density : {0.001, 0.05, 0.4}) {
    const TopKOptions options{.density = density, .checksum = false};
    const auto good = good_message(options);
    int accepted = 0;
    for (int round = 0; round < 3000; ++round) {
      auto message = good;
      for (uint64_t changes = 1 + next() % 4; changes > 0; --changes)
        message[64 + next() % (message.size() - 64)] = static_cast<std::byte>(next());
      if (round % 3 == 0) put(message, 64 + next() % 2 * 4, static_cast<uint32_t>(next() % 600));
      accepted += complaint(message, options).empty() ? 1 : 0;
    }
    EXPECT_GT(accepted, 0);
    EXPECT_LT(accepted, 3000);
  }
}

}  // namespace
}  // namespace terse::testing
