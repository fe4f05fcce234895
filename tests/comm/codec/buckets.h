// Buckets and inputs for the codec tests.
#pragma once
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "base/isa.h"
#include "comm/codec/codec.h"

namespace terse::testing {

inline Bucket make_bucket(const std::vector<int64_t>& sizes) {
  Bucket bucket{.index = 3, .size = 0, .segments = {}};
  for (const int64_t size : sizes) {
    bucket.segments.push_back(
        {fmt::format("s{}", bucket.segments.size()), bucket.size, size, 1, size, true});
    bucket.size += size;
  }
  return bucket;
}

// Reproducible values in (-1, 1), heavier near 0; no library's generator.
inline std::vector<float> values(int64_t n, uint64_t seed) {
  std::vector<float> v(static_cast<size_t>(n));
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (float& x : v) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    const float u = static_cast<float>(state >> 40) * 0x1p-23f - 1.0f;
    x = u * u * u;
  }
  return v;
}

// Zeros of both signs, denormals, the largest numbers.
inline std::vector<float> awkward(int64_t n) {
  const float some[] = {0.0f, -0.0f, 1e-42f, -1e-42f, 3e38f, -3e38f, 1.0f, -1e-20f};
  std::vector<float> v(static_cast<size_t>(n));
  for (size_t i = 0; i < v.size(); ++i) v[i] = some[i * 7 % 8];
  return v;
}

inline std::vector<Range> chunks(int64_t n, int64_t ranks) {
  std::vector<Range> parts;
  const int64_t c = 64 * ((n + 64 * ranks - 1) / (64 * ranks));
  for (int64_t j = 0; j < ranks; ++j)
    parts.push_back({std::min(j * c, n), std::min((j + 1) * c, n)});
  return parts;
}

// The messages of all parts, each in memory of its own that is exactly as long as the message.
struct Messages {
  explicit Messages(const BoundCodec& bound) {
    for (int64_t j = 0; j < bound.parts(); ++j) {
      storage.emplace_back(static_cast<size_t>(bound.bytes(j) + 7) / 8);
      rooms.emplace_back(reinterpret_cast<std::byte*>(storage.back().data()),
                         static_cast<size_t>(bound.bytes(j)));
    }
    used.resize(rooms.size());
  }
  std::span<const std::byte> view(int64_t j) const {
    return rooms[static_cast<size_t>(j)].first(static_cast<size_t>(used[static_cast<size_t>(j)]));
  }
  std::vector<std::byte> copy(int64_t j) const { return {view(j).begin(), view(j).end()}; }

  std::vector<std::vector<uint64_t>> storage;
  std::vector<std::span<std::byte>> rooms;
  std::vector<int64_t> used;
};

inline std::vector<float> decode(BoundCodec& bound, const Messages& messages, const MessageTag& tag,
                                 const uint64_t* live = nullptr) {
  std::vector<float> out;
  for (int64_t j = 0; j < bound.parts(); ++j) {
    std::vector<float> part(static_cast<size_t>(bound.part(j).size()));
    const auto view = messages.view(j);
    bound.decode_sum(j, std::span(&tag, 1), std::span(&view, 1), 1.0f, live, part.data());
    out.insert(out.end(), part.begin(), part.end());
  }
  return out;
}

inline std::vector<Isa> supported() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512})
    if (isa_supported(isa)) all.push_back(isa);
  return all;
}

// Puts the instruction set back when a test ends.
struct WithIsa {
  explicit WithIsa(Isa wanted) : before(isa()) { force_isa(wanted); }
  ~WithIsa() { force_isa(before); }
  Isa before;
};

inline const MessageTag kTag{.bucket = 3, .sender = 1, .step = 7, .stage = 0};

// Segment sizes of buckets: around words of 64 and windows of 4,096, empty, many and few.
inline const std::vector<std::vector<int64_t>> kShapes = {{},
                                                          {1},
                                                          {7, 1},
                                                          {8},
                                                          {31},
                                                          {32},
                                                          {33, 31},
                                                          {64, 64},
                                                          {100, 28},
                                                          {1003, 0, 5},
                                                          {4096, 4096},
                                                          {5000, 3, 200, 9000},
                                                          {20000, 1, 1, 4095, 8200}};

inline bool is_live(const uint64_t* live, int64_t i) {
  return live == nullptr || (live[i / 64] >> (i % 64) & 1) != 0;
}

// Which scale an element has, by the documentation: segment, or segment and block of the bucket.
inline std::vector<int64_t> group_of(const Bucket& bucket, int64_t block) {
  std::vector<int64_t> group;
  for (size_t s = 0; s < bucket.segments.size(); ++s)
    for (int64_t i = 0; i < bucket.segments[s].size; ++i) {
      const int64_t at = bucket.segments[s].offset + i;
      group.push_back(static_cast<int64_t>(s) * 1000000 + (block == 0 ? 0 : at / block));
    }
  return group;
}

struct Result {
  std::vector<std::vector<std::byte>> messages;
  std::vector<float> decoded;
  std::vector<float> shadow;
  std::vector<int64_t> selected;
};

// Encodes message + residual, cut into `parts`, and decodes it again.
inline Result run(const Codec& codec, const Bucket& bucket, int64_t parts,
                  const std::vector<float>& message, const std::vector<float>& residual,
                  const uint64_t* live = nullptr, const std::vector<double>& parameters = {},
                  const MessageTag& tag = kTag) {
  const auto bound = codec.bind(bucket, chunks(bucket.size, parts), parameters);
  Messages messages(*bound);
  Result result;
  result.shadow.assign(message.size(), 99.0f);
  bound->encode(tag, {message.data(), residual.data(), result.shadow.data(), live}, messages.rooms,
                messages.used);
  result.selected.assign(bound->selected().begin(), bound->selected().end());
  for (int64_t j = 0; j < bound->parts(); ++j) result.messages.push_back(messages.copy(j));
  result.decoded = decode(*bound, messages, tag, live);
  return result;
}

// decode_sum() of the second part of three ranks' messages is the sum of what each decodes to, in
// order, times the factor.
inline void expect_sums_in_order(BoundCodec& bound, int64_t size) {
  std::vector<Messages> all;
  std::vector<std::vector<float>> decoded;
  std::vector<MessageTag> tags;
  for (uint32_t rank = 0; rank < 3; ++rank) {
    const auto x = values(size, 20 + rank);
    tags.push_back({.bucket = 3, .sender = rank, .step = 1, .stage = 0});
    all.emplace_back(bound);
    bound.encode(tags.back(), {.message = x.data()}, all.back().rooms, all.back().used);
    decoded.push_back(decode(bound, all.back(), tags.back()));
  }
  const Range part = bound.part(1);
  std::vector<float> sum(static_cast<size_t>(part.size()));
  const std::span<const std::byte> views[] = {all[0].view(1), all[1].view(1), all[2].view(1)};
  bound.decode_sum(1, tags, views, 1.0f / 3.0f, nullptr, sum.data());
  for (int64_t i = 0; i < part.size(); ++i) {
    const auto at = static_cast<size_t>(part.begin + i);
    const float expected = (decoded[0][at] + decoded[1][at] + decoded[2][at]) * (1.0f / 3.0f);
    ASSERT_EQ(sum[static_cast<size_t>(i)], expected) << i;
  }
}

// Bit patterns, so that NaNs and signed zeros compare.
inline std::vector<uint32_t> patterns(const std::vector<float>& v) {
  std::vector<uint32_t> p;
  for (const float x : v) p.push_back(std::bit_cast<uint32_t>(x));
  return p;
}

}  // namespace terse::testing
