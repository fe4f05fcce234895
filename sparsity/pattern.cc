#include "sparsity/pattern.h"

#include <charconv>
#include <cmath>

#include "base/error.h"

namespace terse {
namespace {

constexpr int64_t kLargestGroup = 1024;
constexpr const char* kUnstructured = "unstructured:";

template <typename T>
bool read(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

int64_t Pattern::kept(int64_t elements) const {
  if (!unstructured()) return elements / of * keep;
  return std::llrint((1.0 - zeros) * static_cast<double>(elements));
}

Pattern parse_pattern(const std::string& text) {
  Pattern pattern;
  if (text.starts_with(kUnstructured)) {
    pattern.keep = pattern.of = 0;
    const std::string_view share = std::string_view(text).substr(std::string(kUnstructured).size());
    if (read(share, pattern.zeros) && pattern.zeros >= 0 && pattern.zeros < 1) return pattern;
  } else if (const size_t colon = text.find(':'); colon != std::string::npos) {
    const std::string_view whole = text;
    if (read(whole.substr(0, colon), pattern.keep) && read(whole.substr(colon + 1), pattern.of) &&
        1 <= pattern.keep && pattern.keep <= pattern.of && pattern.of <= kLargestGroup)
      return pattern;
  }
  fail(ExitCode::usage,
       "pattern '{}' is none of N:M (e.g. 2:4; 1 <= N <= M <= {}) and unstructured:S (e.g. "
       "unstructured:0.9; S is the share of zeros, 0 <= S < 1)",
       text, kLargestGroup);
}

std::string to_string(const Pattern& pattern) {
  if (pattern.unstructured()) return fmt::format("{}{}", kUnstructured, pattern.zeros);
  return fmt::format("{}:{}", pattern.keep, pattern.of);
}

void check_fit(const Pattern& pattern, const std::string& layer, int64_t columns) {
  if (pattern.unstructured() || columns % pattern.of == 0) return;
  fail(
      ExitCode::usage,
      "[sparsity] layer '{}' has {} inputs, no multiple of the {} of pattern {}; name the layer in "
      "ignore, or choose a pattern whose M divides {}",
      layer, columns, pattern.of, to_string(pattern), columns);
}

}  // namespace terse
