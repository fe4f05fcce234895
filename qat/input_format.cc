#include "qat/input_format.h"

#include <charconv>
#include <cmath>
#include <sstream>

#include "base/error.h"

namespace terse {
namespace {

[[noreturn]] void bad_text(const std::string& text, const std::string& why) {
  fail(ExitCode::invalid_file,
       "input format '{}' is not of the form 'GRID bBITS RULE' or 'GRID bBITS at SCALE'{}{}", text,
       why.empty() ? "" : ": ", why);
}

template <typename T>
T number(const std::string& field, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size()) bad_text(text, "");
  return value;
}

}  // namespace

Grid input_grid(const InputFormat& input, int64_t hadamard) {
  const bool fixed = input.scale > 0.0f;
  Grid grid = mse_grid(input.grid, input.bits, fixed ? -1 : 0, ScaleType::f32, hadamard);
  if (fixed) return learned_grid(grid);
  grid = with_rule(grid, input.rule);
  if (input.grid == "int_signed" && input.rule == ScaleRule::absmax)
    grid.rounding = Rounding::quotient;
  return grid;
}

InputFormat input_format(const Grid& grid, float scale) {
  InputFormat input{.bits = grid.format.bits, .grid = grid.format.grid};
  if (grid.rule == ScaleRule::learned)
    input.scale = scale;
  else
    input.rule = grid.rule;
  return input;
}

std::string to_string(const InputFormat& input) {
  const std::string scale =
      input.scale > 0.0f ? fmt::format("at {}", input.scale) : to_string(input.rule);
  return fmt::format("{} b{} {}", input.grid, input.bits, scale);
}

InputFormat parse_input_format(const std::string& text) {
  std::istringstream in(text);
  InputFormat input;
  std::string bits, rule, scale;
  if (!(in >> input.grid >> bits >> rule) || bits[0] != 'b') bad_text(text, "");
  input.bits = number<int>(bits.substr(1), text);
  if (rule == "at") {
    in >> scale;
    input.scale = number<float>(scale, text);
    if (!std::isnormal(input.scale) || input.scale < 0.0f) bad_text(text, "the scale is no scale");
  }
  try {
    if (rule != "at") input.rule = parse_rule(rule);
    input_grid(input, 0);
  } catch (const Error& e) {
    bad_text(text, e.what());
  }
  if (to_string(input) != text) bad_text(text, "");
  return input;
}

}  // namespace terse
