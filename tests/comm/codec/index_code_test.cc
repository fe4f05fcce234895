// Index coding against the grammar of docs/protocol.md, written here a second time.
#include "comm/codec/index_code.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace terse::testing {
namespace {

std::vector<std::byte> leb128(const std::vector<int64_t>& indices, int64_t begin) {
  std::vector<std::byte> out;
  for (const int64_t index : indices) {
    auto gap = static_cast<uint64_t>(index - begin);
    begin = index + 1;
    do {
      out.push_back(static_cast<std::byte>((gap & 127) | (gap > 127 ? 128 : 0)));
      gap >>= 7;
    } while (gap != 0);
  }
  return out;
}

std::vector<std::byte> bitmap(const std::vector<int64_t>& indices, Range range) {
  std::vector<std::byte> out(static_cast<size_t>(range.size() + 7) / 8);
  for (const int64_t i : indices)
    out[static_cast<size_t>(i - range.begin) / 8] |= std::byte{1} << ((i - range.begin) % 8);
  return out;
}

void check(const std::vector<int64_t>& indices, Range range) {
  const IndexCode code = choose_index_code(indices, range);
  std::vector<std::byte> bytes(static_cast<size_t>(code.bytes));
  write_indices(code, indices, range, bytes.data());
  const auto gaps = leb128(indices, range.begin), bits = bitmap(indices, range);
  EXPECT_EQ(bytes.size(), std::min(gaps.size(), bits.size()));
  EXPECT_EQ(bytes, code.bitmap ? bits : gaps);
  EXPECT_LE(code.bytes, most_index_bytes(static_cast<int64_t>(indices.size()), range.size()));
  std::vector<uint32_t> back(indices.size());
  const auto count = static_cast<int64_t>(indices.size());
  EXPECT_EQ(read_indices(code.bitmap, bytes, count, range.size(), 1000, back.data()), code.bytes);
  for (size_t e = 0; e < indices.size(); ++e)
    EXPECT_EQ(back[e], static_cast<uint32_t>(indices[e] - range.begin + 1000));
  for (size_t n = 0; n < bytes.size(); ++n)  // cut short
    EXPECT_EQ(
        read_indices(code.bitmap, std::span(bytes).first(n), count, range.size(), 0, back.data()),
        -1);
}

TEST(IndexCode, GapsAndBitmaps) {
  check({}, {5, 5});
  check({}, {5, 100});
  check({5}, {5, 6});
  check({1127}, {1000, 2000});
  check({1128}, {1000, 2000});
  check({0, 128, 16'513, 2'113'666, 18'890'883}, {0, 18'890'884});
  check({270'549'123}, {0, 270'549'124});
  std::vector<int64_t> every;
  for (int64_t i = 0; i < 1000; i += 3) every.push_back(64 + i);
  check(every, {64, 1064});
  check({7, 8, 9, 15}, {7, 16});
}

TEST(IndexCode, ShorterOneIsChosen) {
  std::vector<int64_t> dense, thin;
  for (int64_t i = 0; i < 8000; ++i) {
    if (i % 7 == 0) dense.push_back(i);
    if (i % 9 == 0) thin.push_back(i);
  }
  EXPECT_TRUE(choose_index_code(dense, {0, 8000}).bitmap);
  EXPECT_FALSE(choose_index_code(thin, {0, 8000}).bitmap);
}

// All subsets of small ranges, and gaps as bad as they can be.
TEST(IndexCode, BoundIsReachedAndNeverPassed) {
  for (int64_t size = 1; size <= 12; ++size) {
    std::vector<int64_t> most(static_cast<size_t>(size) + 1, 0);
    for (int64_t bits = 0; bits < int64_t{1} << size; ++bits) {
      std::vector<int64_t> set;
      for (int64_t i = 0; i < size; ++i)
        if ((bits >> i & 1) != 0) set.push_back(i);
      int64_t& longest = most[set.size()];
      longest = std::max(longest, choose_index_code(set, {0, size}).bytes);
    }
    for (int64_t count = 0; count <= size; ++count)
      EXPECT_EQ(most_index_bytes(count, size), most[static_cast<size_t>(count)]);
  }
  for (const int64_t gap : {128, 129, 16'384, 16'385}) {
    std::vector<int64_t> set;
    for (int64_t i = 0; i < 20; ++i) set.push_back(i * (gap + 1) + gap);
    const int64_t size = set.back() + 1;
    EXPECT_EQ(choose_index_code(set, {0, size}).bytes, most_index_bytes(20, size)) << gap;
  }
}

TEST(IndexCode, DefectsAreRefused) {
  std::vector<uint32_t> out(64);
  const auto read = [&](bool bits, const std::vector<int>& in, int64_t count, int64_t size) {
    std::vector<std::byte> bytes;
    for (const int b : in) bytes.push_back(static_cast<std::byte>(b));
    return read_indices(bits, bytes, count, size, 0, out.data());
  };
  EXPECT_EQ(read(false, {3, 0}, 2, 5), 2);
  EXPECT_EQ(read(false, {3, 1}, 2, 5), -1) << "outside";
  EXPECT_EQ(read(false, {0x83, 0x00}, 1, 5), -1) << "not the shortest form";
  EXPECT_EQ(read(false, {0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 1, 1 << 30), -1) << "six bytes";
  EXPECT_EQ(read(false, {0xff, 0xff, 0xff, 0xff, 0x7f}, 1, 1 << 30), -1) << "beyond 32 bits";
  EXPECT_EQ(read(true, {0x05}, 2, 3), 1);
  EXPECT_EQ(read(true, {0x05}, 1, 3), -1) << "more bits than entries";
  EXPECT_EQ(read(true, {0x05}, 3, 3), -1) << "fewer bits than entries";
  EXPECT_EQ(read(true, {0x09}, 2, 3), -1) << "a bit behind the last element";
}

}  // namespace
}  // namespace terse::testing
