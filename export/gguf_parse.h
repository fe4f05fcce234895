// Internal: bounds-checked reading of a GGUF header.
#pragma once
#include <cstring>
#include <span>
#include <string>

#include "base/error.h"
#include "export/gguf.h"

namespace terse::gguf {

// A position in the file that never passes its end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, const std::string& path) : bytes_(bytes), path_(path) {}

  template <typename T>
  T number() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string text() {
    const auto bytes = take(number<uint64_t>());
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  std::span<const std::byte> take(uint64_t count) {
    if (count > left()) truncated();
    const auto taken = bytes_.subspan(position_, static_cast<size_t>(count));
    position_ += static_cast<size_t>(count);
    return taken;
  }
  // A count of things that take at least `least` bytes each: limits what the caller may allocate.
  uint64_t count(uint64_t least) {
    const auto value = number<uint64_t>();
    if (value > left() / least) truncated();
    return value;
  }
  size_t position() const { return position_; }
  size_t left() const { return bytes_.size() - position_; }
  const std::string& path() const { return path_; }

 private:
  [[noreturn]] void truncated() const {
    fail(ExitCode::invalid_file, "{}: truncated or damaged GGUF: byte {} of {} asks for more",
         path_, position_, bytes_.size());
  }
  std::span<const std::byte> bytes_;
  const std::string& path_;
  size_t position_ = 0;
};

// The value at the cursor, its type number first. `key` is for messages.
GgufValue parse_value(Cursor& cursor, const std::string& key);

}  // namespace terse::gguf
