// Any bytes behind a credible header: an Error, or a message that decodes inside its part. The
// first byte picks the codec; the checksum is off, else nothing would get past it.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "comm/codec/bits.h"
#include "comm/codec/onebit.h"
#include "comm/codec/topk.h"
#include "tests/fuzz/live_memory.h"

namespace terse {
namespace {

const Bucket kBucket = {
    3,
    1233,
    {{"a", 0, 900, 30, 30, true}, {"b", 900, 300, 3, 100, true}, {"c", 1200, 33, 1, 33, true}}};

std::vector<std::unique_ptr<BoundCodec>> bound_codecs() {
  std::vector<std::unique_ptr<Codec>> codecs;
  codecs.push_back(make_onebit_codec({.checksum = false}));
  codecs.push_back(make_bits_codec({.checksum = false}));
  codecs.push_back(make_topk_codec({.density = 0.02, .checksum = false}));
  codecs.push_back(make_topk_codec({.density = 0.3, .bf16_values = true, .checksum = false}));
  codecs.push_back(make_topk_codec(
      {.select = SelectRule::threshold, .threshold = 0.1f, .dense_below = 1, .checksum = false}));
  std::vector<std::unique_ptr<BoundCodec>> bound;
  for (const auto& codec : codecs) bound.push_back(codec->bind(kBucket, {{0, kBucket.size}}));
  const double bits[] = {3, 8, 5};
  bound.push_back(make_bits_codec({.scaling = BitsOptions::Scaling::norm, .checksum = false})
                      ->bind(kBucket, {{0, kBucket.size}}, bits));
  return bound;
}

constexpr CodecId kIds[] = {CodecId::onebit, CodecId::bits, CodecId::topk,
                            CodecId::topk,   CodecId::topk, CodecId::bits};

}  // namespace
}  // namespace terse

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const terse::LiveMemory limit(size);
  using namespace terse;
  static const auto codecs = bound_codecs();
  if (size == 0) return 0;
  const size_t which = data[0] % codecs.size();
  // Most codecs know their length: a first byte from 128 on cuts or fills up to it.
  size_t length = static_cast<size_t>(kHeaderBytes) + size - 1;
  if (data[0] >= 128) length = static_cast<size_t>(codecs[which]->bytes(0));
  // Exactly as long as the message, so that one byte beyond is seen; malloc aligns.
  const std::unique_ptr<void, decltype(&std::free)> memory(std::malloc(length), &std::free);
  auto* bytes = static_cast<std::byte*>(memory.get());
  std::memset(bytes, 0, length);
  std::memcpy(bytes + kHeaderBytes, data + 1,
              std::min(size - 1, length - static_cast<size_t>(kHeaderBytes)));
  const MessageTag tag{.bucket = 3, .sender = 1, .step = 7, .stage = 0};
  const std::span<std::byte> message(bytes, length);
  write_header(kIds[which], tag, {0, kBucket.size}, message, false);
  const std::span<const std::byte> sent = message;
  std::vector<float> out(static_cast<size_t>(kBucket.size));
  try {
    codecs[which]->decode_sum(0, std::span(&tag, 1), std::span(&sent, 1), 1.0f, nullptr,
                              out.data());
  } catch (const Error&) {
  }
  return 0;
}
