#include "trainer/data/shard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "base/error.h"
#include "tests/trainer/data/temporary_folder.h"

namespace terse {
namespace {

using testing::HasSubstr;

std::vector<int32_t> counting(int n) {
  std::vector<int32_t> ids(static_cast<size_t>(n));
  std::iota(ids.begin(), ids.end(), 0);
  return ids;
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::invalid_file);
    return error.what();
  }
  return "no error";
}

// A shard of the ids 0..99 as bytes, in both widths.
std::string shard_bytes(const TemporaryFolder& folder, int64_t vocab) {
  write_shard(FileSystem::real(), folder.file("good.bin"), counting(100), vocab);
  return read_text(folder.file("good.bin"));
}

TEST(Shard, RoundTripInBothWidths) {
  TemporaryFolder folder;
  for (const int64_t vocab : {100, 65536, 65537, 1 << 20}) {
    const std::string bytes = shard_bytes(folder, vocab);
    EXPECT_EQ(bytes.size(), 64u + 100 * (vocab <= 65536 ? 2 : 4));
    const TokenShard shard(folder.file("good.bin"));
    shard.verify();
    EXPECT_EQ(shard.count(), 100);
    EXPECT_EQ(shard.vocab(), vocab);
    std::vector<int64_t> some(7);
    shard.read(93, some);
    EXPECT_EQ(some, (std::vector<int64_t>{93, 94, 95, 96, 97, 98, 99}));
  }
}

TEST(Shard, EmptyShardIsValid) {
  TemporaryFolder folder;
  write_shard(FileSystem::real(), folder.file("empty.bin"), {}, 10);
  const TokenShard shard(folder.file("empty.bin"));
  shard.verify();
  EXPECT_EQ(shard.count(), 0);
}

TEST(Shard, EveryTruncationIsRefused) {
  TemporaryFolder folder;
  const std::string bytes = shard_bytes(folder, 100);
  for (size_t length = 0; length < bytes.size(); ++length) {
    const std::string path = folder.write("cut" + std::to_string(length), bytes.substr(0, length));
    EXPECT_THAT(message_of([&] { TokenShard shard(path); }), HasSubstr(path)) << length;
  }
  const std::string longer = folder.write("long.bin", bytes + "x");
  EXPECT_THAT(message_of([&] { TokenShard shard(longer); }), HasSubstr("damaged"));
}

TEST(Shard, EveryFlippedByteIsNoticedOrHarmless) {
  TemporaryFolder folder;
  const std::string bytes = shard_bytes(folder, 100);
  for (size_t i = 0; i < bytes.size(); ++i) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x80);
    const std::string path = folder.write("flipped" + std::to_string(i), flipped);
    const std::string message = message_of([&] { TokenShard(path).verify(); });
    // Bytes 24..31 are the vocabulary size (a larger one is still sound), 40..63 are unused.
    const bool harmless = (i >= 24 && i < 32) || (i >= 40 && i < 64);
    EXPECT_TRUE(harmless || message.find(path) != std::string::npos) << i;
  }
}

TEST(Shard, HugeCountIsRefusedBeforeAnythingIsRead) {
  TemporaryFolder folder;
  std::string bytes = shard_bytes(folder, 100);
  bytes.replace(16, 8, "\xff\xff\xff\xff\xff\xff\xff\x7f", 8);
  const std::string path = folder.write("huge.bin", bytes);
  EXPECT_THAT(message_of([&] { TokenShard shard(path); }), HasSubstr("truncated or damaged"));
}

TEST(Shard, IdOutOfRangeIsNamedWithItsPosition) {
  TemporaryFolder folder;
  std::string bytes = shard_bytes(folder, 100);
  bytes[64 + 2 * 42] = 100;                 // the first id that does not exist
  bytes.replace(32, 8, std::string(8, 0));  // written by another program: no checksum
  const std::string path = folder.write("range.bin", bytes);
  const TokenShard shard(path);
  EXPECT_THAT(message_of([&] { shard.verify(); }), HasSubstr("token id 100 at position 42"));
  std::vector<int64_t> window(10);
  EXPECT_THAT(message_of([&] { shard.read(40, window); }),
              HasSubstr("token id 100 at position 42"));
  shard.read(30, window);
}

TEST(Shard, OtherFilesAreRefused) {
  TemporaryFolder folder;
  const std::string path = folder.write("text.bin", std::string(200, 'a'));
  EXPECT_THAT(message_of([&] { TokenShard shard(path); }), HasSubstr("not a token shard"));
  EXPECT_THAT(message_of([&] { TokenShard shard(folder.file("missing.bin")); }),
              HasSubstr("missing.bin"));
}

}  // namespace
}  // namespace terse
