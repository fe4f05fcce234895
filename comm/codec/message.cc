#include "comm/codec/message.h"

#include <cstring>

#include "base/checksum.h"
#include "base/error.h"

namespace terse {
namespace {

constexpr uint32_t kMagic = 0x4d535254;  // "TRSM" in memory
constexpr uint8_t kVersion = 1;
constexpr uint8_t kHasChecksum = 1;

struct Header {
  uint32_t magic = kMagic;
  uint8_t version = kVersion;
  uint8_t codec = 0;
  uint8_t stage = 0;
  uint8_t flags = 0;
  uint32_t bucket = 0;
  uint32_t sender = 0;
  uint64_t step = 0;
  uint64_t first = 0;
  uint64_t count = 0;
  uint64_t payload = 0;
  uint64_t checksum = 0;
  uint64_t reserved = 0;
};
static_assert(sizeof(Header) == kHeaderBytes);

template <typename A, typename B>
void expect(const MessageTag& tag, const char* field, A found, B wanted) {
  if (static_cast<uint64_t>(found) == static_cast<uint64_t>(wanted)) return;
  fail(ExitCode::disagree,
       "message from rank {} for bucket {}, step {}: {} is {}, expected {}; do all ranks run the "
       "same recipe and version of terse?",
       tag.sender, tag.bucket, tag.step, field, static_cast<uint64_t>(found),
       static_cast<uint64_t>(wanted));
}

}  // namespace

const char* codec_name(CodecId id) {
  switch (id) {
    case CodecId::fp32:
      return "fp32";
    case CodecId::bf16:
      return "bf16";
    case CodecId::onebit:
      return "onebit";
    case CodecId::bits:
      return "bits";
    case CodecId::topk:
      return "topk";
  }
  return "unknown";
}

void write_header(CodecId codec, const MessageTag& tag, Range part, std::span<std::byte> message,
                  bool with_checksum) {
  const auto payload = message.subspan(kHeaderBytes);
  Header header;
  header.codec = static_cast<uint8_t>(codec);
  header.stage = tag.stage;
  header.flags = with_checksum ? kHasChecksum : 0;
  header.bucket = tag.bucket;
  header.sender = tag.sender;
  header.step = tag.step;
  header.first = static_cast<uint64_t>(part.begin);
  header.count = static_cast<uint64_t>(part.size());
  header.payload = payload.size();
  if (with_checksum) header.checksum = checksum(payload);
  std::memcpy(message.data(), &header, sizeof header);
}

std::span<const std::byte> check_message(CodecId codec, const MessageTag& tag, Range part,
                                         std::span<const std::byte> message,
                                         int64_t payload_bytes) {
  if (message.size() < sizeof(Header))
    fail(ExitCode::disagree,
         "message from rank {} for bucket {}, step {}: {} bytes, shorter than its header",
         tag.sender, tag.bucket, tag.step, message.size());
  Header header;
  std::memcpy(&header, message.data(), sizeof header);
  const auto payload = message.subspan(sizeof header);
  expect(tag, "magic number", header.magic, kMagic);
  expect(tag, "protocol version", header.version, kVersion);
  expect(tag, "codec", header.codec, static_cast<uint8_t>(codec));
  expect(tag, "stage", header.stage, tag.stage);
  expect(tag, "bucket", header.bucket, tag.bucket);
  expect(tag, "sender", header.sender, tag.sender);
  expect(tag, "step", header.step, tag.step);
  expect(tag, "first element", header.first, part.begin);
  expect(tag, "number of elements", header.count, part.size());
  expect(tag, "payload length", header.payload, payload.size());
  if (payload_bytes >= 0) expect(tag, "payload length", header.payload, payload_bytes);
  expect(tag, "reserved field", header.reserved, 0);
  if (header.flags > kHasChecksum) expect(tag, "flags", header.flags, kHasChecksum);
  if (header.flags == kHasChecksum) expect(tag, "checksum", header.checksum, checksum(payload));
  return payload;
}

}  // namespace terse
