// Names of a parameterised test's cases, for its name generator: without one ctest lists what
// GoogleTest prints of the parameter, and of a pointer or a struct that is an address of this
// build.
#pragma once
#include <cctype>
#include <string>
#include <string_view>

namespace terse {

// The letters and digits of `text`; whatever else stands between them, "_".
inline std::string test_name(std::string_view text) {
  std::string name;
  bool gap = false;
  for (const char c : text) {
    const bool word = std::isalnum(static_cast<unsigned char>(c)) != 0;
    if (word && gap && !name.empty()) name += '_';
    if (word) name += c;
    gap = !word;
  }
  return name;
}

}  // namespace terse
