// Codecs on a GPU against the same codecs on the CPU: payloads, shadows and sums bit for bit.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/codec/codec.h"
#include "tests/comm/codec/buckets.h"
#include "tests/support/gpu.h"

namespace terse::testing {

struct Inputs {
  std::vector<float> message;
  std::vector<float> residual;  // empty: none
  std::vector<uint64_t> live;   // empty: all
  bool shadow = true;
};

inline const uint64_t* mask(const std::vector<uint64_t>& live) {
  return live.empty() ? nullptr : live.data();
}

// One rank's messages back to back, as an exchange sends them.
struct Sent {
  std::vector<std::byte> bytes;
  std::vector<int64_t> offsets;  // one more at the end
  std::vector<float> shadow;
  std::vector<int64_t> selected;

  void add(std::span<const std::byte> message) {
    bytes.insert(bytes.end(), message.begin(), message.end());
    offsets.push_back(static_cast<int64_t>(bytes.size()));
  }
  Range place(int64_t j) const {
    return {offsets[static_cast<size_t>(j)], offsets[static_cast<size_t>(j) + 1]};
  }
  std::span<const std::byte> message(const std::byte* at, int64_t j) const {
    return {at + place(j).begin, static_cast<size_t>(place(j).size())};
  }
};

inline Sent encode_on_cpu(BoundCodec& bound, const MessageTag& tag, const Inputs& in) {
  Messages messages(bound);
  Sent sent{.bytes = {}, .offsets = {0}, .shadow = {}, .selected = {}};
  sent.shadow.assign(in.message.size(), 9.0f);
  bound.encode(tag,
               {in.message.data(), in.residual.empty() ? nullptr : in.residual.data(),
                in.shadow ? sent.shadow.data() : nullptr, mask(in.live)},
               messages.rooms, messages.used);
  for (int64_t j = 0; j < bound.parts(); ++j) sent.add(messages.copy(j));
  sent.selected.assign(bound.selected().begin(), bound.selected().end());
  return sent;
}

inline Sent encode_on_gpu(BoundCodec& bound, const MessageTag& tag, const Inputs& in) {
  int64_t total = 0;
  std::vector<int64_t> offsets;
  for (int64_t j = 0; j < bound.parts(); ++j) {
    offsets.push_back(total);
    total += (bound.bytes(j) + 7) / 8 * 8;
  }
  const OnGpu<float> message(in.message), residual(in.residual);
  const OnGpu<uint64_t> live(in.live);
  const OnGpu<float> shadow(std::vector<float>(in.message.size(), 9.0f));
  // 0xff, so that a byte that nobody wrote shows.
  const OnGpu<std::byte> bytes(std::vector<std::byte>(static_cast<size_t>(total), std::byte{255}));
  std::vector<std::span<std::byte>> rooms;
  for (int64_t j = 0; j < bound.parts(); ++j)
    rooms.emplace_back(bytes.data() + offsets[static_cast<size_t>(j)],
                       static_cast<size_t>(bound.bytes(j)));
  std::vector<int64_t> used(rooms.size());
  bound.encode(tag,
               {message.data(), in.residual.empty() ? nullptr : residual.data(),
                in.shadow ? shadow.data() : nullptr, in.live.empty() ? nullptr : live.data()},
               rooms, used);
  bound.settle();
  Sent sent{.bytes = {}, .offsets = {0}, .shadow = shadow.host(), .selected = {}};
  const std::vector<std::byte> written = bytes.host();
  for (size_t j = 0; j < rooms.size(); ++j) {
    if (bound.fixed_size()) {
      EXPECT_EQ(used[j], bound.bytes(static_cast<int64_t>(j)));
    }
    sent.add(
        std::span(written).subspan(static_cast<size_t>(offsets[j]), static_cast<size_t>(used[j])));
  }
  sent.selected.assign(bound.selected().begin(), bound.selected().end());
  return sent;
}

// Messages that kernels write have no checksum.
inline void without_checksums(Sent& sent) {
  for (size_t j = 0; j + 1 < sent.offsets.size(); ++j) {
    const int64_t offset = sent.offsets[j];
    MessageHeader header;
    std::memcpy(&header, sent.bytes.data() + offset, sizeof header);
    header.flags = 0;
    header.checksum = 0;
    std::memcpy(sent.bytes.data() + offset, &header, sizeof header);
  }
}

inline std::unique_ptr<BoundCodec> on_gpu(const Codec& codec, const Bucket& bucket, int64_t parts,
                                          std::span<const double> parameters = {}) {
  return codec.bind_device(bucket, chunks(bucket.size, parts), gpu_stream, parameters);
}

inline MessageTag tag_of(uint32_t rank) {
  return {.bucket = 3, .sender = rank, .step = 7, .stage = 0};
}

inline std::vector<float> sum_on_cpu(BoundCodec& bound, int64_t j, const std::vector<Sent>& sent,
                                     float factor, const uint64_t* live) {
  std::vector<MessageTag> tags;
  std::vector<std::span<const std::byte>> views;
  for (const Sent& s : sent) {
    tags.push_back(tag_of(static_cast<uint32_t>(tags.size())));
    views.push_back(s.message(s.bytes.data(), j));
  }
  std::vector<float> out(static_cast<size_t>(bound.part(j).size()), 9.0f);
  bound.decode_sum(j, tags, views, factor, live, out.data());
  return out;
}

inline std::vector<float> sum_on_gpu(BoundCodec& bound, int64_t j, const std::vector<Sent>& sent,
                                     float factor, const std::vector<uint64_t>& live_words) {
  std::vector<MessageTag> tags;
  std::vector<std::unique_ptr<OnGpu<std::byte>>> memory;
  std::vector<std::span<const std::byte>> views;
  for (const Sent& s : sent) {
    tags.push_back(tag_of(static_cast<uint32_t>(tags.size())));
    memory.push_back(std::make_unique<OnGpu<std::byte>>(s.bytes));
    views.push_back(s.message(memory.back()->data(), j));
  }
  const OnGpu<uint64_t> live(live_words);
  const OnGpu<float> out(std::vector<float>(static_cast<size_t>(bound.part(j).size()), 9.0f));
  bound.decode_sum(j, tags, views, factor, live_words.empty() ? nullptr : live.data(), out.data());
  bound.settle();
  return out.host();
}

// Encodes on both, compares, and sums three ranks' messages on both.
inline void compare(const Codec& codec, const Bucket& bucket, int64_t parts, const Inputs& in,
                    std::span<const double> parameters = {}) {
  const auto cpu = codec.bind(bucket, chunks(bucket.size, parts), parameters);
  const auto gpu = on_gpu(codec, bucket, parts, parameters);
  std::vector<Sent> sent;
  for (uint32_t rank = 0; rank < 3; ++rank) {
    Inputs own = in;
    if (rank > 0) own.message = values(bucket.size, 90 + rank);
    sent.push_back(encode_on_cpu(*cpu, tag_of(rank), own));
    if (cpu->fixed_size()) without_checksums(sent.back());
    const Sent other = encode_on_gpu(*gpu, tag_of(rank), own);
    ASSERT_EQ(sent.back().offsets, other.offsets) << "rank " << rank;
    ASSERT_EQ(sent.back().bytes, other.bytes) << "rank " << rank;
    ASSERT_EQ(sent.back().selected, other.selected) << "rank " << rank;
    ASSERT_EQ(patterns(sent.back().shadow), patterns(other.shadow)) << "rank " << rank;
  }
  for (int64_t j = 0; j < parts; ++j)
    for (const size_t ranks : {size_t{1}, size_t{3}}) {
      const std::vector<Sent> some(sent.begin(), sent.begin() + static_cast<int64_t>(ranks));
      const float factor = 1.0f / static_cast<float>(ranks);
      ASSERT_EQ(patterns(sum_on_cpu(*cpu, j, some, factor, mask(in.live))),
                patterns(sum_on_gpu(*gpu, j, some, factor, in.live)))
          << "part " << j << " of " << ranks << " ranks";
    }
}

inline std::vector<uint64_t> two_thirds_alive(int64_t n) {
  std::vector<uint64_t> live(static_cast<size_t>(n + 63) / 64, ~uint64_t{0});
  for (int64_t i = 0; i < n; ++i)
    if (i % 3 == 0 || (i >= 4100 && i < 8300))  // whole words and a whole piece among them
      live[static_cast<size_t>(i / 64)] &= ~(uint64_t{1} << (i % 64));
  return live;
}

}  // namespace terse::testing
