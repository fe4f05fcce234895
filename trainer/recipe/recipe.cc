#include "trainer/recipe/recipe.h"

#include <algorithm>
#include <deque>

#include "base/checksum.h"
#include "base/error.h"
#include "base/file_system.h"
#include "trainer/recipe/cross_checks.h"
#include "trainer/recipe/deepspeed.h"
#include "trainer/recipe/one_table.h"
#include "trainer/recipe/recipe_tables.h"

namespace terse {
namespace {

void report_unknown_tables(const Document& document, const std::vector<std::string>& names,
                           std::vector<Problem>& problems) {
  for (const Table& table : document.tables)
    if (std::ranges::find(names, table.name) == names.end())
      problems.push_back({table.place, fmt::format("unknown table [{}]{}", table.name,
                                                   did_you_mean(table.name, names))});
}

Recipe bind_recipe(const Document& document, std::vector<Problem>& problems) {
  Recipe recipe;
  recipe.source = document.source;
  std::deque<RecipeKeys> tables;
  std::vector<std::string> names;
  for_each_table(recipe, [&](const char* name, auto& options) {
    RecipeKeys& keys = tables.emplace_back(document, name, problems);
    names.emplace_back(name);
    options.bind(keys);
    keys.report_unknown();
  });
  // Only now: a check may look at several tables.
  size_t index = 0;
  for_each_table(recipe,
                 [&](const char*, auto& options) { check_table(options, tables[index++]); });
  check_together(recipe, [&](std::string_view table) -> Keys& {
    const auto found = std::ranges::find(tables, table, &RecipeKeys::table);
    TERSE_CHECK(found != tables.end(), "no table {}", table);
    return *found;
  });
  report_unknown_tables(document, names, problems);
  for (const RecipeKeys& keys : tables) recipe.tables.push_back({keys.table(), keys.keys()});
  return recipe;
}

}  // namespace

Recipe parse_recipe(std::string_view text, const std::string& source,
                    const std::vector<std::string>& sets, const NamedText& deepspeed) {
  std::vector<Problem> problems;
  Document document = parse_document(text, source, problems);
  std::vector<std::string> lines;
  if (!deepspeed.source.empty())
    lines = add_deepspeed_config(deepspeed.text, deepspeed.source, LlamaOptions{}.context, document,
                                 problems);
  const auto translate = [&] {
    for (std::string& line : translate_deepspeed(document, problems))
      lines.push_back(std::move(line));
  };
  translate();  // before --set, which may say the same in our words
  for (const std::string& set : sets) apply_set(document, set, problems);
  translate();
  Recipe recipe = bind_recipe(document, problems);
  if (!problems.empty()) fail_with_problems(std::move(problems), source);
  recipe.translations = std::move(lines);
  return recipe;
}

Recipe load_recipe(const std::string& path, const std::vector<std::string>& sets,
                   const std::string& deepspeed) {
  if (!FileSystem::real().exists(path))
    fail(ExitCode::usage, "{}: no such recipe; see examples/ for some to start from", path);
  constexpr int64_t kMostBytes = 1 << 20;  // a recipe is a page or two
  NamedText config{deepspeed, ""};
  if (!deepspeed.empty()) config.text = read_text(deepspeed, kMostBytes);
  return parse_recipe(read_text(path, kMostBytes), path, sets, config);
}

std::string Recipe::resolved() const {
  std::string text =
      fmt::format("# {}, with every key: its origin, and the default it replaces.\n", source);
  for (const BoundTable& table : tables) {
    text += fmt::format("\n[{}]\n", table.name);
    for (const BoundKey& key : table.keys) {
      const bool replaced = key.value != key.standard;
      text += fmt::format("{:<40} # {}{}\n", key.name + " = " + key.value, key.origin,
                          replaced ? ", default " + key.standard : "");
    }
  }
  return text;
}

uint64_t Recipe::hash() const {
  std::string text;
  for (const BoundTable& table : tables)
    for (const BoundKey& key : table.keys)
      text += fmt::format("{}.{}={}\n", table.name, key.name, key.value);
  return checksum(std::as_bytes(std::span(text)));
}

std::string recipe_manual() {
  std::vector<Problem> none;
  const Recipe recipe = bind_recipe({"", {}}, none);
  std::string text =
      "Tables and keys of a recipe (TOML). Each line: key = default, what it takes.\n";
  for (const BoundTable& table : recipe.tables) {
    text += fmt::format("\n[{}]\n", table.name);
    for (const BoundKey& key : table.keys)
      text += fmt::format("  {:<30} {}\n      {}\n", key.name + " = " + key.standard, key.range,
                          key.doc);
  }
  return text;
}

}  // namespace terse
