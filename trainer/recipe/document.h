// A recipe as it was written: tables of keys with values, each with its place. The only file that
// includes toml++ is document.cc.
//
// Reading never stops at the first fault where it can go on: duplicate keys, duplicate tables and
// malformed lines are collected as problems and left out of the document.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace terse {

// Where something stands: "file:line:column", or "--set table.key" for a flag.
struct Place {
  std::string source;
  int64_t line = 0;  // 0: the source has no lines
  int64_t column = 0;
  std::string to_text() const;
};

struct Problem {
  Place place;
  std::string message;
};

// A TOML value as far as recipes need one. Dates and nested tables arrive as Unsupported.
struct Unsupported {
  std::string type;
};
struct Value {
  std::variant<bool, int64_t, double, std::string, std::vector<Value>, Unsupported> data;
  std::string type_name() const;  // "an integer", "a list", ...
};

struct Entry {
  std::string key;
  Value value;
  Place place;
  bool from_flag = false;
};

struct Table {
  std::string name;
  Place place;
  std::vector<Entry> entries;  // in the order of the file

  const Entry* find(std::string_view key) const;
};

struct Document {
  std::string source;
  std::vector<Table> tables;

  const Table* find(std::string_view name) const;
  Table& table(std::string_view name);  // adds it when it is not there
};

// Problems are appended; the document holds what could be read.
Document parse_document(std::string_view text, const std::string& source,
                        std::vector<Problem>& problems);

// Applies one "table.key=value" of --set. The value is TOML, but a bare word counts as text:
// optim.name=adamw and optim.name="adamw" say the same.
void apply_set(Document& document, std::string_view assignment, std::vector<Problem>& problems);

// Error(usage) with all problems, one a line, in the order of the file, those of flags last.
[[noreturn]] void fail_with_problems(std::vector<Problem> problems, const std::string& source);

// TOML text of values, which parses back to the same value.
std::string toml_text(bool value);
std::string toml_text(int64_t value);
std::string toml_text(double value);
std::string toml_text(const std::string& value);
std::string toml_text(const std::vector<double>& value);
std::string toml_text(const std::vector<std::string>& value);

}  // namespace terse
