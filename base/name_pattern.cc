#include "base/name_pattern.h"

#include <algorithm>

namespace terse {

bool matches(const std::string& pattern, const std::string& name) {
  size_t p = 0, n = 0, star = std::string::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool selected(const std::vector<std::string>& targets, const std::vector<std::string>& ignore,
              const std::string& name) {
  std::string stem = name;
  if (stem.ends_with(".weight")) stem.resize(stem.size() - 7);
  const auto hit = [&](const std::string& pattern) {
    return matches(pattern, name) || matches(pattern, stem);
  };
  if (std::ranges::any_of(ignore, hit)) return false;
  return targets.empty() || std::ranges::any_of(targets, hit);
}

}  // namespace terse
