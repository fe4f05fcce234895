#include "trainer/recipe/recipe_keys.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <optional>

namespace terse {
namespace {

std::string expected(std::string_view what, const Value& value) {
  return fmt::format("expected {}, found {}", what, value.type_name());
}

std::optional<double> as_number(const Value& value) {
  if (const auto* d = std::get_if<double>(&value.data)) return *d;
  if (const auto* i = std::get_if<int64_t>(&value.data)) return static_cast<double>(*i);
  return std::nullopt;
}

std::string integer_range(int64_t least, int64_t most) {
  const bool open_above = most == std::numeric_limits<int64_t>::max();
  return open_above ? fmt::format("integer, at least {}", least)
                    : fmt::format("integer, {} to {}", least, most);
}

std::string number_range(double least, double most) {
  return most >= 1e300 ? fmt::format("number, at least {}", least)
                       : fmt::format("number, {} to {}", least, most);
}

// Reads a list by `read` for each item; names the item that is wrong.
template <typename T, typename Read>
bool read_list(const Value& value, std::vector<T>& out, std::string_view what, std::string& problem,
               const Read& read) {
  const auto* items = std::get_if<std::vector<Value>>(&value.data);
  if (items == nullptr) {
    problem = expected(fmt::format("a list of {}s", what), value);
    return false;
  }
  std::vector<T> result;
  for (size_t i = 0; i < items->size(); ++i) {
    const std::optional<T> item = read((*items)[i]);
    if (!item) {
      problem = fmt::format("item {} of the list: expected a {}, found {}", i + 1, what,
                            (*items)[i].type_name());
      return false;
    }
    result.push_back(*item);
  }
  out = std::move(result);
  return true;
}

}  // namespace

std::string did_you_mean(std::string_view wrong, const std::vector<std::string>& choices) {
  const std::string best = nearest(wrong, choices);
  return best.empty() ? "" : fmt::format("; did you mean '{}'?", best);
}

RecipeKeys::RecipeKeys(const Document& document, std::string table, std::vector<Problem>& problems)
    : document_(&document),
      entries_(document.find(table)),
      table_(std::move(table)),
      problems_(&problems) {}

Place RecipeKeys::place(std::string_view name) const {
  if (entries_ == nullptr) return {document_->source, 0, 0};
  const Entry* entry = entries_->find(name);
  return entry == nullptr ? entries_->place : entry->place;
}

void RecipeKeys::report(std::string_view name, std::string message) {
  faulty_.emplace_back(name);
  problems_->push_back({place(name), std::move(message)});
}

void RecipeKeys::problem(std::string_view name, std::string message) {
  if (std::ranges::find(faulty_, name) != faulty_.end()) return;
  report(name, fmt::format("[{}] {}: {}", table_, name, message));
}

template <typename T>
void RecipeKeys::bind(std::string_view name, T& value, std::string range, std::string_view doc,
                      const std::function<bool(const Value&, T&, std::string&)>& read) {
  BoundKey key{std::string(name), "", toml_text(value), "default", std::move(range),
               std::string(doc)};
  const Entry* entry = entries_ == nullptr ? nullptr : entries_->find(name);
  if (entry != nullptr) {
    std::string problem;
    T read_value = value;
    if (read(entry->value, read_value, problem)) {
      value = std::move(read_value);
      key.origin = entry->from_flag ? "flag" : "file";
    } else {
      report(name, fmt::format("[{}] {}: {}", table_, name, problem));
    }
  }
  key.value = toml_text(value);
  keys_.push_back(std::move(key));
}

void RecipeKeys::flag(std::string_view name, bool& value, std::string_view doc) {
  bind<bool>(name, value, "true | false", doc, [](const Value& v, bool& out, std::string& problem) {
    const auto* b = std::get_if<bool>(&v.data);
    if (b == nullptr)
      problem = expected("true or false", v);
    else
      out = *b;
    return b != nullptr;
  });
}

void RecipeKeys::integer(std::string_view name, int64_t& value, int64_t least, int64_t most,
                         std::string_view doc) {
  const std::string range = integer_range(least, most);
  bind<int64_t>(name, value, range, doc, [&](const Value& v, int64_t& out, std::string& problem) {
    const auto* i = std::get_if<int64_t>(&v.data);
    if (i == nullptr) {
      problem = expected("an integer", v);
    } else if (*i < least || *i > most) {
      problem = fmt::format("{} is out of bounds ({})", *i, range);
    } else {
      out = *i;
    }
    return problem.empty();
  });
}

void RecipeKeys::number(std::string_view name, double& value, double least, double most,
                        std::string_view doc) {
  const std::string range = number_range(least, most);
  bind<double>(name, value, range, doc, [&](const Value& v, double& out, std::string& problem) {
    const std::optional<double> d = as_number(v);
    if (!d)
      problem = expected("a number", v);
    else if (!(*d >= least && *d <= most))  // also when it is no number at all
      problem = fmt::format("{} is out of bounds ({})", *d, range);
    else
      out = *d;
    return problem.empty();
  });
}

void RecipeKeys::text(std::string_view name, std::string& value, std::string_view doc) {
  bind<std::string>(name, value, "text", doc,
                    [](const Value& v, std::string& out, std::string& problem) {
                      const auto* s = std::get_if<std::string>(&v.data);
                      if (s == nullptr)
                        problem = expected("a text in quotes", v);
                      else
                        out = *s;
                      return s != nullptr;
                    });
}

void RecipeKeys::choice(std::string_view name, std::string& value, std::vector<std::string> choices,
                        std::string_view doc) {
  std::string range;
  for (const std::string& c : choices) range += (range.empty() ? "" : " | ") + toml_text(c);
  bind<std::string>(
      name, value, range, doc, [&](const Value& v, std::string& out, std::string& problem) {
        const auto* s = std::get_if<std::string>(&v.data);
        if (s == nullptr)
          problem = expected("a text in quotes", v);
        else if (std::ranges::find(choices, *s) == choices.end())
          problem = fmt::format("'{}' is none of {}{}", *s, range, did_you_mean(*s, choices));
        else
          out = *s;
        return problem.empty();
      });
}

void RecipeKeys::numbers(std::string_view name, std::vector<double>& value, std::string_view doc) {
  bind<std::vector<double>>(name, value, "list of numbers", doc,
                            [](const Value& v, std::vector<double>& out, std::string& problem) {
                              return read_list<double>(v, out, "number", problem, as_number);
                            });
}

void RecipeKeys::texts(std::string_view name, std::vector<std::string>& value,
                       std::string_view doc) {
  const auto one = [](const Value& item) -> std::optional<std::string> {
    const auto* s = std::get_if<std::string>(&item.data);
    return s == nullptr ? std::nullopt : std::optional(*s);
  };
  bind<std::vector<std::string>>(
      name, value, "list of texts", doc,
      [&](const Value& v, std::vector<std::string>& out, std::string& problem) {
        if (const auto single = one(v)) {
          out = {*single};
          return true;
        }
        return read_list<std::string>(v, out, "text", problem, one);
      });
}

void RecipeKeys::report_unknown() {
  if (entries_ == nullptr) return;
  std::vector<std::string> names;
  for (const BoundKey& key : keys_) names.push_back(key.name);
  for (const Entry& entry : entries_->entries)
    if (std::ranges::find(names, entry.key) == names.end())
      problems_->push_back({entry.place, fmt::format("unknown key '{}' in [{}]{}", entry.key,
                                                     table_, did_you_mean(entry.key, names))});
}

}  // namespace terse
