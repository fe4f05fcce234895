#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "trainer/recipe/document.h"

namespace terse {

std::string Place::to_text() const {
  return line == 0 ? source : fmt::format("{}:{}:{}", source, line, column);
}

std::string Value::type_name() const {
  struct Names {
    std::string operator()(bool) const { return "true or false"; }
    std::string operator()(int64_t) const { return "an integer"; }
    std::string operator()(double) const { return "a number"; }
    std::string operator()(const std::string&) const { return "a text"; }
    std::string operator()(const std::vector<Value>&) const { return "a list"; }
    std::string operator()(const Unsupported& u) const { return u.type; }
  };
  return std::visit(Names{}, data);
}

const Entry* Table::find(std::string_view key) const {
  const auto found = std::ranges::find(entries, key, &Entry::key);
  return found == entries.end() ? nullptr : &*found;
}

const Table* Document::find(std::string_view name) const {
  const auto found = std::ranges::find(tables, name, &Table::name);
  return found == tables.end() ? nullptr : &*found;
}

Table& Document::table(std::string_view name) {
  const auto found = std::ranges::find(tables, name, &Table::name);
  if (found != tables.end()) return *found;
  tables.push_back({std::string(name), {}, {}});
  return tables.back();
}

std::string toml_text(bool value) {
  return value ? "true" : "false";
}

std::string toml_text(int64_t value) {
  return std::to_string(value);
}

std::string toml_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  // The shortest digits that read back to the same number; TOML wants a point or an exponent.
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string toml_text(const std::string& value) {
  std::string text = "\"";
  for (const char c : value) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      text += fmt::format("\\{}", c);
    else if (u < 0x20 || u == 0x7F)
      text += fmt::format("\\u{:04X}", u);
    else
      text += c;
  }
  return text + "\"";
}

namespace {

template <typename T>
std::string list_text(const std::vector<T>& values) {
  std::string text = "[";
  for (const T& value : values) text += (text.size() > 1 ? ", " : "") + toml_text(value);
  return text + "]";
}

}  // namespace

std::string toml_text(const std::vector<double>& value) {
  return list_text(value);
}
std::string toml_text(const std::vector<std::string>& value) {
  return list_text(value);
}

}  // namespace terse
