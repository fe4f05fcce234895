// Checks that look at several tables of a recipe, reported at the key that is best changed.
#pragma once
#include <functional>
#include <string_view>

#include "trainer/recipe/recipe.h"

namespace terse {

using KeysOf = std::function<Keys&(std::string_view table)>;

void check_together(const Recipe& recipe, const KeysOf& keys);

}  // namespace terse
