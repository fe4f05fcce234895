// A recipe: one TOML file of tables, each owned by the component that reads it.
//
//   Recipe recipe = load_recipe("examples/quickstart.toml", {"train.steps=100"});
//   recipe.train.steps; recipe.optim.lr; ...
//   write_atomically(fs, run + "/recipe.resolved.toml", recipe.resolved());
//
// Loading reports all faults at once: an Error(usage) with one line for each, "file:line:column:
// message", unknown names with the nearest valid one. Not thread-safe while loading.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "comm/exchange_options.h"
#include "optim/options.h"
#include "qat/options.h"
#include "sparsity/options.h"
#include "trainer/model/options.h"
#include "trainer/recipe/options.h"
#include "trainer/recipe/recipe_keys.h"

namespace terse {

struct BoundTable {
  std::string name;
  std::vector<BoundKey> keys;
};

struct Recipe {
  ModelOptions model;
  DataOptions data;
  TrainOptions train;
  DistillOptions distill;
  OptimOptions optim;
  ExchangeOptions exchange;
  QatOptions qat;
  SparsityOptions sparsity;
  CheckpointOptions checkpoint;
  ExportOptions export_;

  // One line for each key that was read under DeepSpeed's name: for the user to see.
  std::vector<std::string> translations;

  // As loaded: the path, and every table's keys with values and origins, in a fixed order.
  std::string source;
  std::vector<BoundTable> tables;

  // The recipe written out, each value with its origin. Reads back into the same options.
  std::string resolved() const;
  // XXH3 of all values in a fixed order, whatever their origin: equal recipes are equal numbers.
  // Ranks compare it at start.
  uint64_t hash() const;
};

// `sets`: "table.key=value" of --set, in order; later ones win. `deepspeed`: the path of a
// DeepSpeed configuration that goes over the recipe, under `sets` (trainer/recipe/deepspeed.h); ""
// = none.
Recipe load_recipe(const std::string& path, const std::vector<std::string>& sets = {},
                   const std::string& deepspeed = "");

struct NamedText {
  std::string source;  // names it in messages
  std::string text;
};
// As above for texts.
Recipe parse_recipe(std::string_view text, const std::string& source,
                    const std::vector<std::string>& sets = {}, const NamedText& deepspeed = {});

// Every table and key with range, default and meaning: `terse train --help-recipe`.
std::string recipe_manual();

}  // namespace terse
