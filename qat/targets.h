// Targets: the engine formats that [qat] target may name, and what each fixes. A new format whose
// arithmetic is a Grid is one row here.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qat/grid.h"

namespace terse {

struct Target {
  std::string name;          // "gguf:q4_0"
  bool quantizes = false;    // weights become Codes
  std::optional<Grid> grid;  // fixed by the reader; empty: the other [qat] keys choose
  bool rotates = false;      // the reader can rotate activations
};

std::span<const Target> targets();
std::vector<std::string> target_names();
// Null if there is none of this name.
const Target* find_target(const std::string& name);

}  // namespace terse
