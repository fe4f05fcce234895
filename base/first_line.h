// The first line of other programs' and libraries' error texts, which go on with stacks.
#pragma once
#include <string>

namespace terse {

inline std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace terse
