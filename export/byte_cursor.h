// Bounds-checked reading of hostile bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include "base/error.h"

namespace terse {

// A position in a file (or a part of one) that never passes its end: Error(invalid_file) that names
// `path` and `what` the bytes should be. Both strings are borrowed.
class ByteCursor {
 public:
  ByteCursor(std::span<const std::byte> bytes, const std::string& path, const char* what)
      : bytes_(bytes), path_(path), what_(what) {}

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

  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ExitCode::invalid_file, "{}: {} at byte {}: {}", path_, what_, position_,
         fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  [[noreturn]] void truncated() const {
    fail(ExitCode::invalid_file, "{}: truncated or damaged {}: byte {} of {} asks for more", path_,
         what_, position_, bytes_.size());
  }
  std::span<const std::byte> bytes_;
  const std::string& path_;
  const char* what_;
  size_t position_ = 0;
};

}  // namespace terse
