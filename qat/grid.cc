#include "qat/grid.h"

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

CodeFormat integers(const std::string& name, int bits, int least, int most) {
  CodeFormat format;
  format.grid = name;
  format.bits = bits;
  format.code_min = least;
  format.code_max = most;
  return format;
}

}  // namespace

double mse_step(const std::string& name, int bits) {
  const bool symmetric = name == "int_symmetric";
  if (name != "half_int" && name != "int_signed" && !symmetric)
    fail(ExitCode::usage, "grid '{}' is unknown; possible: half_int, int_signed, int_symmetric",
         name);
  if (bits < (symmetric ? 2 : 1) || bits > 8)
    fail(ExitCode::usage, "grid '{}' has {} to 8 bits, not {}", name, symmetric ? 2 : 1, bits);
  const auto& table = symmetric ? kSymmetric : name == "half_int" ? kHalfInt : kSigned;
  return table[static_cast<size_t>(bits - 1)];
}

Grid mse_grid(const std::string& name, int bits, int64_t group, ScaleType scale_type,
              int64_t hadamard) {
  const double step = mse_step(name, bits);
  const int half = 1 << (bits - 1);
  const bool symmetric = name == "int_symmetric", centred = name == "half_int";
  Grid grid;
  grid.format = integers(name, bits, symmetric ? 1 - half : -half, half - 1);
  grid.format.offset = centred ? 0.5f : 0.0f;
  grid.format.group = group;
  grid.format.scale_type = scale_type;
  grid.format.hadamard = hadamard;
  grid.rule = ScaleRule::rms;
  grid.rounding = centred ? Rounding::floor : Rounding::nearest;
  grid.step = static_cast<float>(step);
  grid.eps = centred ? 2e-8f / static_cast<float>(2 * half - 1) : 1e-8f;
  return grid;
}

Grid q4_0_grid() {
  Grid grid;
  grid.format = integers("int_signed", 4, -8, 7);
  grid.rule = ScaleRule::signed_max;
  grid.rounding = Rounding::ggml_shift;
  return grid;
}

Grid q8_0_grid() {
  Grid grid;
  grid.format = integers("int_signed", 8, -127, 127);
  grid.rule = ScaleRule::absmax;
  grid.rounding = Rounding::half_away;
  return grid;
}

}  // namespace terse
