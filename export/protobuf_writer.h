// Internal: protobuf's wire format, the little that ONNX needs (protobuf.dev/programming-guides/
// encoding). Debian's libonnx is not used: version 1.12 knows neither INT4 nor opset 21, holds a
// whole model in memory, and would bring protobuf into every program that links export/.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace terse::protobuf {

class Message {
 public:
  void number(uint32_t field, uint64_t value) {
    tag(field, 0);
    varint(value);
  }
  void number(uint32_t field, float value) {
    tag(field, 5);
    char raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    bytes_.append(raw, sizeof raw);
  }
  void text(uint32_t field, std::string_view value) {
    announce(field, value.size());
    bytes_.append(value);
  }
  void message(uint32_t field, const Message& value) { text(field, value.bytes_); }
  // The head of a field whose `size` bytes follow elsewhere.
  void announce(uint32_t field, uint64_t size) {
    tag(field, 2);
    varint(size);
  }
  const std::string& bytes() const { return bytes_; }
  uint64_t size() const { return bytes_.size(); }

 private:
  void tag(uint32_t field, uint32_t wire_type) { varint(uint64_t{field} << 3 | wire_type); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

}  // namespace terse::protobuf
