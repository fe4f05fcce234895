// The 64-byte header of every compressed message, and the checks of whoever receives one.
// Byte grammar: docs/protocol.md.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "comm/bucket.h"

namespace terse {

// On the wire: never reuse a number.
enum class CodecId : uint8_t { fp32 = 1, bf16 = 2, onebit = 3, bits = 4, topk = 5 };

const char* codec_name(CodecId id);

// Which message this is; sender and receiver both know it beforehand, so a difference is an error.
struct MessageTag {
  uint32_t bucket = 0;
  uint32_t sender = 0;  // rank
  uint64_t step = 0;    // number of the exchange of this bucket
  uint8_t stage = 0;    // 0: from the workers to a chunk's owner; 1: from the owner to all
};

inline constexpr int64_t kHeaderBytes = 64;

// The bytes in front of a payload, little-endian; docs/protocol.md says what each field is.
struct MessageHeader {
  uint32_t magic = 0;
  uint8_t version = 0;
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
static_assert(sizeof(MessageHeader) == kHeaderBytes);

// Without a checksum.
MessageHeader make_header(CodecId codec, const MessageTag& tag, Range part, int64_t payload_bytes);
// Error(disagree) that names the first field that differs; flags and checksum are not looked at.
void check_header(const MessageHeader& expected, const MessageHeader& found);

// Writes the header in front of a payload that lies behind it already: message = header + payload.
void write_header(CodecId codec, const MessageTag& tag, Range part, std::span<std::byte> message,
                  bool with_checksum);

// Checks every field, the length and the checksum; returns the payload. Error(disagree) otherwise.
// `payload_bytes` < 0: any length (codecs whose size depends on the data check it themselves).
std::span<const std::byte> check_message(CodecId codec, const MessageTag& tag, Range part,
                                         std::span<const std::byte> message, int64_t payload_bytes);

}  // namespace terse
