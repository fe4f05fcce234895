// Codecs on a GPU against the same codecs on the CPU: payloads, shadows and sums bit for bit.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

#include "base/error.h"
#include "comm/codec/onebit.h"
#include "tests/comm/codec/buckets.h"
#include "tests/support/gpu.h"

namespace terse::testing {
namespace {

struct Inputs {
  std::vector<float> message;
  std::vector<float> residual;  // empty: none
  std::vector<uint64_t> live;   // empty: all
  bool shadow = true;
};

const uint64_t* mask(const std::vector<uint64_t>& live) {
  return live.empty() ? nullptr : live.data();
}

// One rank's messages back to back, as an exchange sends them.
struct Sent {
  std::vector<std::byte> bytes;
  std::vector<int64_t> offsets;
  std::vector<float> shadow;
};

Sent encode_on_cpu(BoundCodec& bound, const MessageTag& tag, const Inputs& in) {
  Messages messages(bound);
  Sent sent;
  sent.shadow.assign(in.message.size(), 9.0f);
  bound.encode(tag,
               {in.message.data(), in.residual.empty() ? nullptr : in.residual.data(),
                in.shadow ? sent.shadow.data() : nullptr, mask(in.live)},
               messages.rooms, messages.used);
  for (int64_t j = 0; j < bound.parts(); ++j) {
    sent.offsets.push_back(static_cast<int64_t>(sent.bytes.size()));
    const auto bytes = messages.copy(j);
    sent.bytes.insert(sent.bytes.end(), bytes.begin(), bytes.end());
  }
  return sent;
}

Sent encode_on_gpu(BoundCodec& bound, const MessageTag& tag, const Inputs& in) {
  Sent sent;
  int64_t total = 0;
  for (int64_t j = 0; j < bound.parts(); ++j) {
    sent.offsets.push_back(total);
    total += bound.bytes(j);
  }
  const OnGpu<float> message(in.message), residual(in.residual);
  const OnGpu<uint64_t> live(in.live);
  const OnGpu<float> shadow(std::vector<float>(in.message.size(), 9.0f));
  // 0xff, so that a byte that nobody wrote shows.
  const OnGpu<std::byte> bytes(std::vector<std::byte>(static_cast<size_t>(total), std::byte{255}));
  std::vector<std::span<std::byte>> rooms;
  for (int64_t j = 0; j < bound.parts(); ++j)
    rooms.emplace_back(bytes.data() + sent.offsets[static_cast<size_t>(j)],
                       static_cast<size_t>(bound.bytes(j)));
  std::vector<int64_t> used(rooms.size());
  bound.encode(tag,
               {message.data(), in.residual.empty() ? nullptr : residual.data(),
                in.shadow ? shadow.data() : nullptr, in.live.empty() ? nullptr : live.data()},
               rooms, used);
  bound.settle();
  for (int64_t j = 0; j < bound.parts(); ++j)
    EXPECT_EQ(used[static_cast<size_t>(j)], bound.bytes(j));
  sent.bytes = bytes.host();
  sent.shadow = shadow.host();
  return sent;
}

// Messages between GPUs have no checksum.
void without_checksums(Sent& sent) {
  for (const int64_t offset : sent.offsets) {
    MessageHeader header;
    std::memcpy(&header, sent.bytes.data() + offset, sizeof header);
    header.flags = 0;
    header.checksum = 0;
    std::memcpy(sent.bytes.data() + offset, &header, sizeof header);
  }
}

std::unique_ptr<BoundCodec> on_gpu(const Codec& codec, const Bucket& bucket, int64_t parts) {
  return codec.bind_device(bucket, chunks(bucket.size, parts), gpu_stream);
}

MessageTag tag_of(uint32_t rank) {
  return {.bucket = 3, .sender = rank, .step = 7, .stage = 0};
}

std::vector<float> sum_on_cpu(BoundCodec& bound, int64_t j, const std::vector<Sent>& sent,
                              float factor, const uint64_t* live) {
  std::vector<MessageTag> tags;
  std::vector<std::span<const std::byte>> views;
  for (const Sent& s : sent) {
    tags.push_back(tag_of(static_cast<uint32_t>(tags.size())));
    views.emplace_back(s.bytes.data() + s.offsets[static_cast<size_t>(j)],
                       static_cast<size_t>(bound.bytes(j)));
  }
  std::vector<float> out(static_cast<size_t>(bound.part(j).size()), 9.0f);
  bound.decode_sum(j, tags, views, factor, live, out.data());
  return out;
}

std::vector<float> sum_on_gpu(BoundCodec& bound, int64_t j, const std::vector<Sent>& sent,
                              float factor, const std::vector<uint64_t>& live_words) {
  std::vector<MessageTag> tags;
  std::vector<std::unique_ptr<OnGpu<std::byte>>> memory;
  std::vector<std::span<const std::byte>> views;
  for (const Sent& s : sent) {
    tags.push_back(tag_of(static_cast<uint32_t>(tags.size())));
    memory.push_back(std::make_unique<OnGpu<std::byte>>(s.bytes));
    views.emplace_back(memory.back()->data() + s.offsets[static_cast<size_t>(j)],
                       static_cast<size_t>(bound.bytes(j)));
  }
  const OnGpu<uint64_t> live(live_words);
  const OnGpu<float> out(std::vector<float>(static_cast<size_t>(bound.part(j).size()), 9.0f));
  bound.decode_sum(j, tags, views, factor, live_words.empty() ? nullptr : live.data(), out.data());
  bound.settle();
  return out.host();
}

// Encodes on both, compares, and sums three ranks' messages on both.
void compare(const Codec& codec, const Bucket& bucket, int64_t parts, const Inputs& in) {
  const auto cpu = codec.bind(bucket, chunks(bucket.size, parts));
  const auto gpu = on_gpu(codec, bucket, parts);
  std::vector<Sent> sent;
  for (uint32_t rank = 0; rank < 3; ++rank) {
    Inputs own = in;
    if (rank > 0) own.message = values(bucket.size, 90 + rank);
    sent.push_back(encode_on_cpu(*cpu, tag_of(rank), own));
    without_checksums(sent.back());
    const Sent other = encode_on_gpu(*gpu, tag_of(rank), own);
    ASSERT_EQ(sent.back().bytes, other.bytes) << "rank " << rank;
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

const std::vector<std::vector<int64_t>> kShapes = {{},
                                                   {1},
                                                   {7, 1},
                                                   {32},
                                                   {33, 31},
                                                   {64, 64},
                                                   {1003, 0, 5},
                                                   {5000, 3, 200, 9000},
                                                   {20000, 1, 1, 4095, 8200}};

std::vector<uint64_t> two_thirds_alive(int64_t n) {
  std::vector<uint64_t> live(static_cast<size_t>(n + 63) / 64, ~uint64_t{0});
  for (int64_t i = 0; i < n; ++i)
    if (i % 3 == 0 || (i >= 4100 && i < 8300))  // whole words and a whole piece among them
      live[static_cast<size_t>(i / 64)] &= ~(uint64_t{1} << (i % 64));
  return live;
}

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
