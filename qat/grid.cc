#include "qat/grid.h"

#include <algorithm>
#include <array>

#include "base/error.h"

namespace terse {
namespace {

// Steps in units of sigma that minimise E (Q(z) - z)^2 for z ~ N(0, 1), bits 1 to 8; the tests find
// each again by golden section. half_int at 1 bit is 2 sqrt(2 / pi).
constexpr std::array<double, 8> kHalfInt = {
    1.5957691216057306, 0.9956866859435061,  0.5860194414434869,  0.3352006121999729,
    0.1881387902799181, 0.10406300944201427, 0.05686767238235854, 0.030762387582323872};
constexpr std::array<double, 8> kSigned = {
    1.2240063619249617,  1.0483852624850134,  0.6018242266853022,  0.338607935715185,
    0.18879222290208042, 0.10417944701392909, 0.05688734457342702, 0.03076557854276777};
constexpr std::array<double, 8> kSymmetric = {0.0,
                                              1.2240063619249617,
                                              0.6507697039968388,
                                              0.35341131557140704,
                                              0.19324852439718465,
                                              0.10548758605828062,
                                              0.05726128072097654,
                                              0.030870086040348348};
constexpr double kTernary = kSymmetric[1];
constexpr double kFp4 = 0.48707917856228259;  // 1 of E2M1, whose largest is 6

struct Kind {
  const char* name;
  int least_bits, most_bits;
};
constexpr std::array<Kind, 5> kKinds = {{{"half_int", 1, 8},
                                         {"int_signed", 1, 8},
                                         {"int_symmetric", 2, 8},
                                         {"ternary", 2, 2},
                                         {"fp4", 4, 4}}};

const Kind& kind_of(const std::string& name, int bits) {
  const auto kind =
      std::find_if(kKinds.begin(), kKinds.end(), [&](const Kind& k) { return name == k.name; });
  if (kind == kKinds.end())
    fail(ExitCode::usage, "grid '{}' is unknown; possible: {}", name,
         fmt::join(grid_names(), ", "));
  if (bits < kind->least_bits || bits > kind->most_bits)
    fail(ExitCode::usage, "grid '{}' has {}, not {}", name,
         kind->least_bits == kind->most_bits
             ? fmt::format("{} bits", kind->least_bits)
             : fmt::format("{} to {} bits", kind->least_bits, kind->most_bits),
         bits);
  return *kind;
}

CodeFormat format_of(const std::string& name, int bits) {
  const int half = 1 << (bits - 1);
  CodeFormat format;
  format.grid = name;
  format.bits = bits;
  format.code_min = -half;
  format.code_max = half - 1;
  if (name == "int_symmetric" || name == "ternary") format.code_min = 1 - half;
  if (name == "half_int") format.offset = 0.5f;
  if (name != "fp4") return format;
  format.code_min = -12;
  format.code_max = 12;
  format.unit = 0.5f;
  return format;
}

Rounding rounding_of(const std::string& name) {
  if (name == "fp4") return Rounding::fp4;
  return name == "half_int" ? Rounding::floor : Rounding::nearest;
}

bool binary(const CodeFormat& format) {
  return format.grid == "half_int" && format.bits == 1;
}

// The level that the value of largest magnitude becomes: the outermost; half a code further out
// where there is one code less above zero than below, as compressed-tensors has it.
float top_level(const CodeFormat& format) {
  const float up = static_cast<float>(format.code_max) + format.offset;
  const float down = -(static_cast<float>(format.code_min) + format.offset);
  return (up + down) / 2 * format.unit;
}

bool can_have(const CodeFormat& format, ScaleRule rule) {
  switch (rule) {
    case ScaleRule::rms:
    case ScaleRule::absmax:
      return true;
    case ScaleRule::signed_max:
      return format.grid == "int_signed";
    case ScaleRule::absmean:
      return format.grid == "ternary" || binary(format);
    case ScaleRule::mx_floor:
    case ScaleRule::mx_round:
      return format.grid == "fp4";
    case ScaleRule::learned:
      return false;
  }
  return false;
}

float constant_of(const CodeFormat& format, ScaleRule rule) {
  switch (rule) {
    case ScaleRule::rms:
      return static_cast<float>(mse_step(format.grid, format.bits));
    case ScaleRule::absmax:
      return top_level(format);
    case ScaleRule::signed_max:
      return static_cast<float>(format.code_min);
    case ScaleRule::absmean:
      return binary(format) ? 2.0f : 1.0f;
    default:
      return 0.0f;
  }
}

float eps_of(const CodeFormat& format, ScaleRule rule) {
  if (rule == ScaleRule::absmean) return 1e-5f;
  if (rule != ScaleRule::rms) return 0.0f;
  return format.grid == "half_int" ? 2e-8f / static_cast<float>((1 << format.bits) - 1) : 1e-8f;
}

// By the values of ScaleRule; learned is no name of a recipe.
constexpr std::array<const char*, 7> kRules = {"rms",     "signed_max", "absmax",  "learned",
                                               "absmean", "mx_floor",   "mx_round"};

}  // namespace

std::vector<std::string> grid_names() {
  std::vector<std::string> names;
  for (const Kind& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

int fixed_bits(const std::string& grid) {
  for (const Kind& kind : kKinds)
    if (grid == kind.name && kind.least_bits == kind.most_bits) return kind.least_bits;
  return 0;
}

std::vector<std::string> rule_names() {
  std::vector<std::string> names;
  for (const char* name : kRules)
    if (parse_rule(name) != ScaleRule::learned) names.emplace_back(name);
  return names;
}

const char* to_string(ScaleRule rule) {
  return kRules[static_cast<size_t>(rule)];
}

ScaleRule parse_rule(const std::string& name) {
  for (size_t i = 0; i < kRules.size(); ++i)
    if (name == kRules[i]) return static_cast<ScaleRule>(i);
  fail(ExitCode::usage, "scale rule '{}' is unknown; possible: {}", name,
       fmt::join(rule_names(), ", "));
}

double mse_step(const std::string& name, int bits) {
  kind_of(name, bits);
  if (name == "fp4") return kFp4;
  if (name == "ternary") return kTernary;
  const auto& table = name == "int_symmetric" ? kSymmetric
                      : name == "half_int"    ? kHalfInt
                                              : kSigned;
  return table[static_cast<size_t>(bits - 1)];
}

Grid with_rule(Grid grid, ScaleRule rule) {
  const CodeFormat& format = grid.format;
  if (!can_have(format, rule)) {
    std::vector<const char*> possible;
    for (size_t i = 0; i < kRules.size(); ++i)
      if (can_have(format, static_cast<ScaleRule>(i))) possible.push_back(kRules[i]);
    fail(ExitCode::usage, "grid '{}' at {} bits has no scale rule '{}'; possible: {}", format.grid,
         format.bits, to_string(rule), fmt::join(possible, ", "));
  }
  grid.rule = rule;
  grid.rounding = rounding_of(format.grid);
  grid.step = constant_of(format, rule);
  grid.eps = eps_of(format, rule);
  grid.ggml = false;
  return grid;
}

Grid mse_grid(const std::string& name, int bits, int64_t group, ScaleType scale_type,
              int64_t hadamard) {
  kind_of(name, bits);
  Grid grid;
  grid.format = format_of(name, bits);
  grid.format.group = group;
  grid.format.scale_type = scale_type;
  grid.format.hadamard = hadamard;
  return with_rule(grid, ScaleRule::rms);
}

Grid learned_grid(Grid grid) {
  const CodeFormat& format = grid.format;
  if (format.unit != 1.0f || format.scale_type == ScaleType::e8m0 ||
      format.scale_type == ScaleType::e4m3)
    fail(ExitCode::usage,
         "estimator lsq learns the step of evenly spaced codes; '{}' has no such step. Choose grid "
         "half_int, int_signed or int_symmetric, or another estimator",
         to_string(format));
  grid.rule = ScaleRule::learned;
  grid.rounding = format.offset == 0.0f ? Rounding::nearest : Rounding::floor;
  return grid;
}

Grid q4_0_grid() {
  Grid grid = with_rule(mse_grid("int_signed", 4, 32, ScaleType::f16, 0), ScaleRule::signed_max);
  grid.rounding = Rounding::ggml_shift;
  grid.ggml = true;
  return grid;
}

Grid q8_0_grid() {
  Grid grid = with_rule(mse_grid("int_signed", 8, 32, ScaleType::f16, 0), ScaleRule::absmax);
  grid.format.code_min = -127;
  grid.step = 127.0f;
  grid.rounding = Rounding::half_away;
  grid.ggml = true;
  return grid;
}

}  // namespace terse
