#include "parallel/options_text.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace terse {

void OptionsText::line(std::string_view name, const std::string& value) {
  text_ += fmt::format("[{}] {} = {}\n", table_, name, value);
}

void OptionsText::problem(std::string_view name, std::string message) {
  problems_ += fmt::format("\n  [{}] {}: {}", table_, name, message);
}

void OptionsText::flag(std::string_view name, bool& value, std::string_view) {
  line(name, value ? "true" : "false");
}

void OptionsText::integer(std::string_view name, int64_t& value, int64_t least, int64_t most,
                          std::string_view) {
  line(name, std::to_string(value));
  if (value < least || value > most)
    problem(name, fmt::format("{} is out of bounds ({} to {})", value, least, most));
}

void OptionsText::number(std::string_view name, double& value, double least, double most,
                         std::string_view) {
  line(name, fmt::format("{}", value));
  if (!(value >= least && value <= most))  // also when it is no number at all
    problem(name, fmt::format("{} is out of bounds ({} to {})", value, least, most));
}

void OptionsText::text(std::string_view name, std::string& value, std::string_view) {
  line(name, value);
}

void OptionsText::choice(std::string_view name, std::string& value,
                         std::vector<std::string> choices, std::string_view) {
  line(name, value);
  if (std::ranges::find(choices, value) != choices.end()) return;
  const std::string best = nearest(value, choices);
  problem(name, fmt::format("'{}' is none of {}{}", value, fmt::join(choices, ", "),
                            best.empty() ? "" : fmt::format("; did you mean '{}'?", best)));
}

void OptionsText::numbers(std::string_view name, std::vector<double>& value, std::string_view) {
  line(name, fmt::format("{}", fmt::join(value, ", ")));
}

void OptionsText::texts(std::string_view name, std::vector<std::string>& value, std::string_view) {
  line(name, fmt::format("{}", fmt::join(value, ", ")));
}

}  // namespace terse
