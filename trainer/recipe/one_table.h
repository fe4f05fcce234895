// One component's options without a recipe: for verbs that take `--set key=value` of one table.
#pragma once
#include <string>
#include <vector>

#include "trainer/recipe/recipe_keys.h"

namespace terse {

template <typename Options>
void check_table(const Options& options, Keys& keys) {
  if constexpr (requires { options.check(keys); }) options.check(keys);
}

// `sets`: "key=value" or "table.key=value". Error(usage) with every problem at once.
template <typename Options>
Options options_from_sets(const std::string& table, const std::vector<std::string>& sets) {
  std::vector<Problem> problems;
  Document document{"the command line", {}};
  for (const std::string& set : sets) {
    const bool named = set.substr(0, set.find('=')).find('.') != std::string::npos;
    apply_set(document, named ? set : table + "." + set, problems);
  }
  for (const Table& other : document.tables)
    if (other.name != table)
      problems.push_back({other.place, "only keys of [" + table + "] mean something here"});
  RecipeKeys keys(document, table, problems);
  Options options;
  options.bind(keys);
  keys.report_unknown();
  check_table(options, keys);
  if (!problems.empty()) fail_with_problems(std::move(problems), "the command line");
  return options;
}

}  // namespace terse
