// Name patterns: how a recipe's tables choose layers.
#pragma once
#include <string>
#include <vector>

namespace terse {

// '*' stands for any text, everything else for itself.
bool matches(const std::string& pattern, const std::string& name);

// Whether layer `name` is meant: hit by one of `targets` (empty: all are) and by none of `ignore`.
// A trailing ".weight" of the name may be left out in a pattern.
bool selected(const std::vector<std::string>& targets, const std::vector<std::string>& ignore,
              const std::string& name);

}  // namespace terse
