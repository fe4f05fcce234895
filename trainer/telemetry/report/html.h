// Text for an HTML page.
#pragma once
#include <string>
#include <string_view>

namespace terse {

// Safe in element content and in quoted attributes; control characters become U+FFFD.
std::string escape(std::string_view text);

}  // namespace terse
