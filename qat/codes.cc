#include "qat/codes.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "base/error.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

ScaleType scale_type_of(const std::string& name, const std::string& whole) {
  if (const auto type = parse_scale_type(name)) return *type;
  fail(ExitCode::invalid_file,
       "code format '{}': '{}' is no scale type (f32, f16, bf16, f16_7bit, e8m0, e4m3)", whole,
       name);
}

bool power_of_two(float x) {
  int exponent = 0;
  return std::isnormal(x) && std::frexp(x, &exponent) == 0.5f;
}

// E2M1, doubled.
bool is_fp4(int8_t code) {
  const int size = code < 0 ? -code : code;
  return size <= 4 || size == 6 || size == 8 || size == 12;
}

template <typename Visit>
void each_pruned(const Codes& codes, const Visit& visit) {
  for (int64_t r = 0; r < codes.rows; ++r) {
    const uint8_t* bits = codes.mask.data() + r * mask_stride(codes.columns);
    for (int64_t c = 0; c < codes.columns; ++c)
      if ((bits[c / 8] >> (c % 8) & 1) == 0) visit(static_cast<size_t>(r * codes.columns + c));
  }
}

bool good_code(const CodeFormat& format, int8_t code) {
  return code >= format.code_min && code <= format.code_max &&
         (format.grid != "fp4" || is_fp4(code));
}

constexpr int64_t kManyCodes = 1 << 16;  // worth waking threads for

// Simple loops first, which the compiler turns into vectors: gigabytes come through here.
bool all_good(const CodeFormat& format, const std::vector<int8_t>& all) {
  const auto least = static_cast<int8_t>(format.code_min);
  const auto most = static_cast<int8_t>(format.code_max);
  const bool fp4 = format.grid == "fp4";
  const int8_t* codes = all.data();
  const auto count = static_cast<int64_t>(all.size());
  uint8_t wrong = 0;
#pragma omp parallel for schedule(static) reduction(| : wrong) if (count > kManyCodes)
  for (int64_t begin = 0; begin < count; begin += kManyCodes) {
    const int64_t end = std::min(count, begin + kManyCodes);
    uint8_t bad = 0;
    for (int64_t i = begin; i < end; ++i)
      bad |= static_cast<uint8_t>(codes[i] < least) | static_cast<uint8_t>(codes[i] > most);
    for (int64_t i = begin; fp4 && i < end; ++i) bad |= static_cast<uint8_t>(!is_fp4(codes[i]));
    wrong |= bad;
  }
  return wrong == 0;
}

bool good_scale(float scale, ScaleType type) {
  return std::isfinite(scale) && representable(scale, type);
}

bool all_good(ScaleType type, const std::vector<float>& scales) {
  const auto count = static_cast<int64_t>(scales.size());
  bool good = true;
#pragma omp parallel for schedule(static) reduction(&& : good) if (count > kManyCodes / 32)
  for (int64_t i = 0; i < count; ++i)
    good = good && good_scale(scales[static_cast<size_t>(i)], type);
  return good;
}

template <typename Broken>
void check_codes(const Codes& all, const Broken& broken) {
  const CodeFormat& format = all.format;
  if (all_good(format, all.codes)) return;
  for (size_t i = 0; i < all.codes.size(); ++i) {
    const int8_t code = all.codes[i];
    if (good_code(format, code)) continue;
    const bool outside = code < format.code_min || code > format.code_max;
    broken(fmt::format("code {} at {} is {}", code, i,
                       outside ? "out of range" : "no doubled E2M1 value"));
  }
}

[[noreturn]] void bad_format(const std::string& text) {
  fail(ExitCode::invalid_file,
       "code format '{}' is not of the form 'GRID bBITS gGROUP SCALE hBLOCK [MIN,MAX] "
       "+OFFSET', then 'xUNIT' or nothing, then a pattern or nothing",
       text);
}

int64_t number_after(const std::string& field, char prefix, const std::string& whole) {
  if (field.size() < 2 || field[0] != prefix) bad_format(whole);
  size_t used = 0;
  int64_t value = 0;
  try {
    value = std::stoll(field.substr(1), &used);
  } catch (const std::exception&) {
    bad_format(whole);
  }
  if (used + 1 != field.size()) bad_format(whole);
  return value;
}

float real_after(const std::string& field, char prefix, const std::string& whole) {
  if (field.size() < 2 || field[0] != prefix) bad_format(whole);
  size_t used = 0;
  float value = 0;
  try {
    value = std::stof(field.substr(1), &used);
  } catch (const std::exception&) {
    bad_format(whole);
  }
  if (used + 1 != field.size()) bad_format(whole);
  return value;
}

}  // namespace

void Codes::set_mask(const std::string& pattern, std::vector<uint8_t> bits) {
  format.pattern = pattern;
  mask = std::move(bits);
  each_pruned(*this, [this](size_t i) { codes[i] = 0; });
}

void Codes::validate(const std::string& name) const {
  const auto broken = [&](const std::string& what) {
    fail(ExitCode::invalid_file, "codes of '{}' ({}): {}", name, to_string(format), what);
  };
  if (rows < 0 || columns < 0) broken("negative shape");
  if (format.group < -1 || format.hadamard < 0) broken("negative group or rotation block");
  if (!power_of_two(format.unit)) broken("the unit is no power of two");
  if (!power_of_two(tensor_scale) || tensor_scale < 0x1p-100f || tensor_scale > 0x1p100f)
    broken(fmt::format("{} as scale of the tensor is no power of two, or too far from 1",
                       tensor_scale));
  if (tensor_scale != 1.0f && format.scale_type != ScaleType::e4m3)
    broken("has a scale of the tensor, which is for e4m3 only");
  if (format.code_min > format.code_max || format.code_min < -128 || format.code_max > 127)
    broken("code range is not within int8");
  if (format.group > 0 && columns % format.group != 0)
    broken(fmt::format("{} columns are no multiple of the group", columns));
  if (format.hadamard > 0 && columns % format.hadamard != 0)
    broken(fmt::format("{} columns are no multiple of the rotation block", columns));
  if (rows > 0 && columns > std::numeric_limits<int64_t>::max() / rows) broken("shape overflows");
  if (static_cast<int64_t>(codes.size()) != rows * columns)
    broken(fmt::format("{} codes for {} x {}", codes.size(), rows, columns));
  if (static_cast<int64_t>(scales.size()) != scale_count())
    broken(fmt::format("{} scales where {} are due", scales.size(), scale_count()));
  check_codes(*this, broken);
  const int64_t mask_bytes = format.pattern.empty() ? 0 : rows * mask_stride(columns);
  if (static_cast<int64_t>(mask.size()) != mask_bytes)
    broken(fmt::format("{} bytes of mask where {} are due", mask.size(), mask_bytes));
  if (!mask.empty())
    each_pruned(*this, [&](size_t i) {
      if (codes[i] != 0) broken(fmt::format("code {} at {} lies behind the mask", codes[i], i));
    });
  if (all_good(format.scale_type, scales)) return;
  for (size_t i = 0; i < scales.size(); ++i) {
    if (!std::isfinite(scales[i])) broken(fmt::format("scale {} is not finite", i));
    if (!representable(scales[i], format.scale_type))
      broken(fmt::format("scale {} = {} is not representable in its type", i, scales[i]));
  }
}

Codes Codes::row_slice(int64_t begin, int64_t end) const {
  TERSE_CHECK(0 <= begin && begin <= end && end <= rows, "rows [{}, {}) of {}", begin, end, rows);
  Codes part;
  part.format = format;
  part.rows = end - begin;
  part.columns = columns;
  part.codes.assign(codes.begin() + begin * columns, codes.begin() + end * columns);
  part.tensor_scale = tensor_scale;
  if (format.group < 0)
    part.scales = scales;
  else
    part.scales.assign(scales.begin() + begin * groups(), scales.begin() + end * groups());
  if (!mask.empty()) {
    const int64_t stride = mask_stride(columns);
    part.mask.assign(mask.begin() + begin * stride, mask.begin() + end * stride);
  }
  return part;
}

std::string to_string(const CodeFormat& format) {
  std::string text = fmt::format("{} b{} g{} {} h{} [{},{}] +{}", format.grid, format.bits,
                                 format.group, to_string(format.scale_type), format.hadamard,
                                 format.code_min, format.code_max, format.offset);
  if (format.unit != 1.0f) text += fmt::format(" x{}", format.unit);
  if (!format.pattern.empty()) text += " " + format.pattern;
  return text;
}

CodeFormat parse_code_format(const std::string& text) {
  std::istringstream in(text);
  std::string grid, bits, group, scale, hadamard, range, offset, next, rest;
  if (!(in >> grid >> bits >> group >> scale >> hadamard >> range >> offset)) bad_format(text);
  CodeFormat format;
  format.grid = grid;
  format.bits = static_cast<int>(number_after(bits, 'b', text));
  format.group = number_after(group, 'g', text);
  format.scale_type = scale_type_of(scale, text);
  format.hadamard = number_after(hadamard, 'h', text);
  const size_t comma = range.find(',');
  if (comma == std::string::npos || range.back() != ']') bad_format(text);
  format.code_min = static_cast<int>(number_after(range.substr(0, comma), '[', text));
  format.code_max = static_cast<int>(
      number_after("," + range.substr(comma + 1, range.size() - comma - 2), ',', text));
  format.offset = real_after(offset, '+', text);
  bool more = static_cast<bool>(in >> next);
  if (more && next[0] == 'x') {
    format.unit = real_after(next, 'x', text);
    more = static_cast<bool>(in >> next);
  }
  try {
    if (more) format.pattern = to_string(parse_pattern(next));
  } catch (const Error&) {
    bad_format(text);
  }
  if (in >> rest) bad_format(text);
  if (to_string(format) != text) bad_format(text);
  return format;
}

}  // namespace terse
