#include "qat/input_format.h"

#include <charconv>
#include <cmath>
#include <sstream>

#include "base/error.h"

namespace terse {
namespace {

[[noreturn]] void bad_text(const std::string& text, const std::string& why) {
  fail(ExitCode::invalid_file,
       "input format '{}' is not of the form 'GRID bBITS RULE', 'GRID bBITS at SCALE' or "
       "'nvfp4 b4 absmax global SCALE'{}{}",
       text, why.empty() ? "" : ": ", why);
}

template <typename T>
T number(const std::string& field, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), value);
  if (error != std::errc() || end != field.data() + field.size()) bad_text(text, "");
  return value;
}

bool in_blocks(const std::string& grid) {
  return grid == "nvfp4" || grid == "mxfp4";
}

Grid block_grid(const InputFormat& input, int64_t hadamard) {
  const bool nv = input.grid == "nvfp4";
  const bool mx_rule = input.rule == ScaleRule::mx_floor || input.rule == ScaleRule::mx_round;
  if (nv ? input.rule != ScaleRule::absmax : !mx_rule)
    fail(ExitCode::usage, "inputs on {} have no scale rule '{}'; possible: {}", input.grid,
         to_string(input.rule), nv ? "absmax" : "mx_floor, mx_round");
  if (input.scale > 0.0f)
    fail(ExitCode::usage, "inputs on {} have a scale a block, not one for all tokens", input.grid);
  if (!possible_global(input.global))
    fail(ExitCode::usage, "{} as global scale is no power of two from 2^-20 to 2^20", input.global);
  Grid grid = with_rule(
      mse_grid("fp4", input.bits, nv ? 16 : 32, nv ? ScaleType::e4m3 : ScaleType::e8m0, hadamard),
      input.rule);
  grid.dynamic = true;
  if (!nv) return grid;
  grid.rounding = Rounding::fp4_quotient;
  grid.second = 1.0f / input.global;
  return grid;
}

}  // namespace

std::vector<std::string> input_grid_names() {
  std::vector<std::string> names = grid_names();
  names.insert(names.end(), {"nvfp4", "mxfp4"});
  return names;
}

InputFormat nvfp4_input(float global) {
  return {.bits = 4, .global = global, .grid = "nvfp4"};
}

InputFormat mxfp4_input() {
  return {.bits = 4, .rule = ScaleRule::mx_round, .grid = "mxfp4"};
}

bool possible_global(double global) {
  int exponent = 0;
  return std::frexp(global, &exponent) == 0.5 && exponent > -20 && exponent <= 21;
}

Grid input_grid(const InputFormat& input, int64_t hadamard) {
  if (in_blocks(input.grid)) return block_grid(input, hadamard);
  const bool fixed = input.scale > 0.0f;
  Grid grid = mse_grid(input.grid, input.bits, fixed ? -1 : 0, ScaleType::f32, hadamard);
  if (fixed) return learned_grid(grid);
  grid = with_rule(grid, input.rule);
  if (input.grid == "int_signed" && input.rule == ScaleRule::absmax)
    grid.rounding = Rounding::quotient;
  return grid;
}

InputFormat input_format(const Grid& grid, float scale) {
  if (grid.dynamic && grid.format.scale_type == ScaleType::e4m3)
    return nvfp4_input(1.0f / grid.second);
  if (grid.dynamic) return {.bits = grid.format.bits, .rule = grid.rule, .grid = "mxfp4"};
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
  const std::string global =
      input.grid == "nvfp4" ? fmt::format(" global {}", input.global) : std::string();
  return fmt::format("{} b{} {}{}", input.grid, input.bits, scale, global);
}

InputFormat parse_input_format(const std::string& text) {
  std::istringstream in(text);
  InputFormat input;
  std::string bits, rule, scale, word, global;
  if (!(in >> input.grid >> bits >> rule) || bits[0] != 'b') bad_text(text, "");
  input.bits = number<int>(bits.substr(1), text);
  if (rule == "at") {
    in >> scale;
    input.scale = number<float>(scale, text);
    if (!std::isnormal(input.scale) || input.scale < 0.0f) bad_text(text, "the scale is no scale");
  }
  if (in >> word >> global && word == "global") input.global = number<float>(global, text);
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
