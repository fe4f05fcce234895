#include "trainer/recipe/document.h"

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>

namespace terse {
namespace {

// Tables that were written twice are parsed under this name, and then left out.
constexpr std::string_view kDuplicate = "terse-duplicate-";
constexpr std::string_view kDuplicateMessage = "duplicate key or table";
constexpr int kMostSyntaxProblems = 20;

Value value_from(const toml::node& node) {
  if (const auto* b = node.as_boolean()) return {b->get()};
  if (const auto* i = node.as_integer()) return {i->get()};
  if (const auto* f = node.as_floating_point()) return {f->get()};
  if (const auto* s = node.as_string()) return {s->get()};
  if (const auto* list = node.as_array()) {
    std::vector<Value> values;
    for (const toml::node& item : *list) values.push_back(value_from(item));
    return {std::move(values)};
  }
  return {Unsupported{node.is_table() ? "a table" : "a date or time"}};
}

Place place_of(const toml::source_region& region, const std::string& source) {
  return {source, static_cast<int64_t>(region.begin.line),
          static_cast<int64_t>(region.begin.column)};
}

void report(std::vector<Problem>& problems, Place place, std::string message) {
  problems.push_back({std::move(place), std::move(message)});
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (true) {
    const size_t end = text.find('\n');
    lines.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return lines;
    text.remove_prefix(end + 1);
  }
}

// Rewrites the faulty line so that the rest can be read; false when that would only cause more
// (misleading) problems.
bool repair(std::string& line, int count) {
  const size_t start = line.find_first_not_of(" \t");
  if (start == std::string::npos) return false;
  if (line[start] == '[') {
    line = fmt::format("[{}{}]", kDuplicate, count);
    return true;
  }
  const bool spans_lines = line.find_first_of("[{") != std::string::npos ||
                           line.find("\"\"\"") != std::string::npos ||
                           line.find("'''") != std::string::npos;
  if (spans_lines && line.find(']') == std::string::npos) return false;
  line.clear();
  return true;
}

std::string sentence(std::string_view description) {
  // toml++ says "Error while parsing key-value pair: cannot redefine existing integer 'steps'".
  const size_t colon = description.find(": ");
  std::string_view rest =
      colon == std::string_view::npos ? description : description.substr(colon + 2);
  const size_t quote = rest.find('\'');
  if (rest.starts_with("cannot redefine existing") && quote != std::string_view::npos)
    return fmt::format("{} {}; keep one of them", kDuplicateMessage, rest.substr(quote));
  return std::string(rest);
}

toml::table parse_repairing(std::string_view text, const std::string& source,
                            std::vector<Problem>& problems) {
  std::vector<std::string> lines = lines_of(text);
  for (int count = 0; count < kMostSyntaxProblems; ++count) {
    toml::parse_result result = toml::parse(fmt::format("{}", fmt::join(lines, "\n")), source);
    if (result) return std::move(result).table();
    const toml::parse_error& error = result.error();
    const auto line = static_cast<size_t>(error.source().begin.line);
    const bool inside = line >= 1 && line <= lines.size();
    Place place = place_of(error.source(), source);
    std::string message = sentence(error.description());
    // toml++ points behind the key.
    if (inside && message.starts_with(kDuplicateMessage))
      place.column = static_cast<int64_t>(lines[line - 1].find_first_not_of(" \t") + 1);
    report(problems, place, std::move(message));
    if (!inside || !repair(lines[line - 1], count)) break;
  }
  return {};
}

void add_table(const std::string& name, const toml::table& from, const std::string& source,
               Document& document) {
  Table& table = document.table(name);
  table.place = place_of(from.source(), source);
  for (const auto& [key, node] : from)
    table.entries.push_back(
        {std::string(key.str()), value_from(node), place_of(key.source(), source), false});
  std::ranges::sort(table.entries, [](const Entry& a, const Entry& b) {
    return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
  });
}

}  // namespace

Document parse_document(std::string_view text, const std::string& source,
                        std::vector<Problem>& problems) {
  Document document{source, {}};
  const toml::table root = parse_repairing(text, source, problems);
  for (const auto& [key, node] : root) {
    const std::string name(key.str());
    if (name.starts_with(kDuplicate)) continue;
    if (const toml::table* table = node.as_table())
      add_table(name, *table, source, document);
    else
      report(
          problems, place_of(key.source(), source),
          fmt::format("'{}' stands outside of any table; write it below its [table] line", name));
  }
  std::ranges::sort(document.tables, {}, [](const Table& t) { return t.place.line; });
  return document;
}

void apply_set(Document& document, std::string_view assignment, std::vector<Problem>& problems) {
  const size_t equals = assignment.find('=');
  const std::string_view path = assignment.substr(0, equals);
  const size_t dot = path.find('.');
  const Place place{fmt::format("--set {}", path), 0, 0};
  if (equals == std::string_view::npos || dot == std::string_view::npos || dot == 0 ||
      dot + 1 == path.size()) {
    report(problems, {fmt::format("--set {}", assignment), 0, 0},
           "expected table.key=value, e.g. --set optim.lr=0.001");
    return;
  }
  const std::string value(assignment.substr(equals + 1));
  toml::parse_result parsed = toml::parse("v = " + value);
  const toml::node* node = parsed ? parsed.table().get("v") : nullptr;
  const bool whole = node != nullptr && parsed.table().size() == 1;
  Entry entry{std::string(path.substr(dot + 1)), whole ? value_from(*node) : Value{value}, place,
              true};
  Table& table = document.table(path.substr(0, dot));
  if (table.place.source.empty()) table.place = place;
  std::erase_if(table.entries, [&](const Entry& e) { return e.key == entry.key; });
  table.entries.push_back(std::move(entry));
}

}  // namespace terse
