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
  std::string name;        // "gguf:q4_0"
  bool quantizes = false;  // weights become Codes
  std::optional<Grid> grid =
      std::nullopt;      // fixed by the reader; empty: the other [qat] keys choose
  int64_t rotation = 0;  // block by which the reader rotates activations; 0 = it cannot
  int64_t block = 1;     // columns that a block of the file holds: inputs are a multiple
  // Sizes of group that the format has besides the grid's own; 0 = a row.
  std::vector<int64_t> groups = {};
  // What the reader rounds activations to, per token or block; act_bits is then its bits. Empty:
  // the reader leaves them alone, or `any_activations`: the recipe chooses, since the reader does
  // what the file says (`file_says_activations`), or something else whatever training does.
  std::optional<Grid> activations = std::nullopt;
  bool any_activations = false;
  // Then they are rounded as qat/input_format.h has it where the recipe names no act_grid.
  bool file_says_activations = false;
};

std::span<const Target> targets();
std::vector<std::string> target_names();
// Null if there is none of this name.
const Target* find_target(const std::string& name);
// Its grid with another of its groups; -1 = its own. For targets with a grid.
Grid target_grid(const Target& target, int64_t group);
// Columns a scale that a recipe may ask for, the target's own first.
std::vector<int64_t> possible_groups(const Target& target);

}  // namespace terse
