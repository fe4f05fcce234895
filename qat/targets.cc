#include "qat/targets.h"

namespace terse {
namespace {

std::vector<Target> table() {
  return {
      {.name = "none", .quantizes = true, .grid = std::nullopt, .rotates = true},
      {.name = "gguf:q4_0", .quantizes = true, .grid = q4_0_grid(), .rotates = false},
      {.name = "gguf:q8_0", .quantizes = true, .grid = q8_0_grid(), .rotates = false},
      {.name = "gguf:f32", .quantizes = false, .grid = std::nullopt, .rotates = false},
      {.name = "gguf:f16", .quantizes = false, .grid = std::nullopt, .rotates = false},
      {.name = "gguf:bf16", .quantizes = false, .grid = std::nullopt, .rotates = false},
  };
}

}  // namespace

std::span<const Target> targets() {
  static const std::vector<Target> all = table();
  return all;
}

std::vector<std::string> target_names() {
  std::vector<std::string> names;
  for (const Target& target : targets()) names.push_back(target.name);
  return names;
}

const Target* find_target(const std::string& name) {
  for (const Target& target : targets())
    if (target.name == name) return &target;
  return nullptr;
}

}  // namespace terse
