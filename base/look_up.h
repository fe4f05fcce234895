// A named value of a map, as a StateReader answers.
#pragma once
#include <optional>
#include <string_view>

namespace terse {

template <typename Map>
std::optional<typename Map::mapped_type> look_up(const Map& map, std::string_view name) {
  const auto found = map.find(name);
  return found == map.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace terse
