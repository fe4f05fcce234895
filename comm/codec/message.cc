#include "comm/codec/message.h"

#include <cstring>

#include "base/checksum.h"
#include "base/error.h"

namespace terse {
namespace {

constexpr uint32_t kMagic = 0x4d535254;  // "TRSM" in memory
constexpr uint8_t kVersion = 1;
constexpr uint8_t kHasChecksum = 1;

template <typename A, typename B>
void expect(const MessageHeader& sent, const char* field, A found, B wanted) {
  if (static_cast<uint64_t>(found) == static_cast<uint64_t>(wanted)) return;
  fail(ExitCode::disagree,
       "message from rank {} for bucket {}, step {}: {} is {}, expected {}; do all ranks run the "
       "same recipe and version of terse?",
       sent.sender, sent.bucket, sent.step, field, static_cast<uint64_t>(found),
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

MessageHeader make_header(CodecId codec, const MessageTag& tag, Range part, int64_t payload_bytes) {
  return {.magic = kMagic,
          .version = kVersion,
          .codec = static_cast<uint8_t>(codec),
          .stage = tag.stage,
          .bucket = tag.bucket,
          .sender = tag.sender,
          .step = tag.step,
          .first = static_cast<uint64_t>(part.begin),
          .count = static_cast<uint64_t>(part.size()),
          .payload = static_cast<uint64_t>(payload_bytes)};
}

void check_header(const MessageHeader& expected, const MessageHeader& found) {
  expect(expected, "magic number", found.magic, expected.magic);
  expect(expected, "protocol version", found.version, expected.version);
  expect(expected, "codec", found.codec, expected.codec);
  expect(expected, "stage", found.stage, expected.stage);
  expect(expected, "bucket", found.bucket, expected.bucket);
  expect(expected, "sender", found.sender, expected.sender);
  expect(expected, "step", found.step, expected.step);
  expect(expected, "first element", found.first, expected.first);
  expect(expected, "number of elements", found.count, expected.count);
  expect(expected, "payload length", found.payload, expected.payload);
  expect(expected, "reserved field", found.reserved, expected.reserved);
}

void write_header(CodecId codec, const MessageTag& tag, Range part, std::span<std::byte> message,
                  bool with_checksum) {
  const auto payload = message.subspan(kHeaderBytes);
  MessageHeader header = make_header(codec, tag, part, static_cast<int64_t>(payload.size()));
  if (with_checksum) {
    header.flags = kHasChecksum;
    header.checksum = checksum(payload);
  }
  std::memcpy(message.data(), &header, sizeof header);
}

std::span<const std::byte> check_message(CodecId codec, const MessageTag& tag, Range part,
                                         std::span<const std::byte> message,
                                         int64_t payload_bytes) {
  if (message.size() < sizeof(MessageHeader))
    fail(ExitCode::disagree,
         "message from rank {} for bucket {}, step {}: {} bytes, shorter than its header",
         tag.sender, tag.bucket, tag.step, message.size());
  MessageHeader header;
  std::memcpy(&header, message.data(), sizeof header);
  const auto payload = message.subspan(sizeof header);
  const MessageHeader expected =
      make_header(codec, tag, part, static_cast<int64_t>(payload.size()));
  check_header(expected, header);
  if (payload_bytes >= 0) expect(expected, "payload length", header.payload, payload_bytes);
  if (header.flags > kHasChecksum) expect(expected, "flags", header.flags, kHasChecksum);
  if (header.flags == kHasChecksum)
    expect(expected, "checksum", header.checksum, checksum(payload));
  return payload;
}

}  // namespace terse
