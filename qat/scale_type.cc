#include "qat/scale_type.h"

#include <array>
#include <bit>
#include <cmath>
#include <limits>

#include "base/half.h"

namespace terse {
namespace {

struct Layout {
  const char* name;
  int bits;      // in the file
  int dropped;   // of fp32's 23 stored mantissa bits
  float normal;  // smallest normal number
  float most;
};

constexpr float kMost = std::numeric_limits<float>::max();
constexpr std::array<Layout, 6> kLayouts = {{
    {"f32", 32, 0, 0x1p-126f, kMost},
    {"f16", 16, 13, 0x1p-14f, 65504.0f},
    {"bf16", 16, 16, 0x1p-126f, 0x1.fep127f},
    {"f16_7bit", 32, 17, 0x1p-14f, 8704.0f},
    {"e8m0", 8, 23, 0x1p-126f, 0x1p127f},
    {"e4m3", 8, 20, 0x1p-6f, 448.0f},
}};

const Layout& layout(ScaleType type) {
  return kLayouts[static_cast<size_t>(type)];
}

// Nearest even with the last `dropped` bits of the mantissa gone.
float shortened(float x, int dropped) {
  if (dropped == 0) return x;
  const uint32_t u = std::bit_cast<uint32_t>(x), last = u >> dropped & 1u;
  const uint32_t half = (1u << (dropped - 1)) - 1u;
  return std::bit_cast<float>((u + half + last) >> dropped << dropped);
}

bool is_e4m3(float x) {
  const float eighths = x * 0x1p9f;  // the subnormal spacing is 2^-9
  return x < 0x1p-6f ? eighths == std::rint(eighths) : x <= 448.0f && shortened(x, 20) == x;
}

}  // namespace

const char* to_string(ScaleType type) {
  return layout(type).name;
}

std::optional<ScaleType> parse_scale_type(const std::string& name) {
  for (size_t i = 0; i < kLayouts.size(); ++i)
    if (name == kLayouts[i].name) return static_cast<ScaleType>(i);
  return std::nullopt;
}

int scale_bits(ScaleType type) {
  return layout(type).bits;
}

float smallest_normal(ScaleType type) {
  return layout(type).normal;
}

float largest_scale(ScaleType type) {
  return layout(type).most;
}

float round_scale(float scale, ScaleType type) {
  if (std::isnan(scale)) return scale;
  const Layout& to = layout(type);
  const float near = shortened(scale, to.dropped);
  if (!(near <= to.most)) return std::numeric_limits<float>::infinity();
  return near < to.normal ? to.normal : near;
}

bool representable(float scale, ScaleType type) {
  if (!std::isfinite(scale)) return false;
  const auto exact_f16 = [](float x) { return fp16_to_float(fp16_from_float(x)) == x; };
  switch (type) {
    case ScaleType::f32:
      return true;
    case ScaleType::f16:
      return exact_f16(scale);
    case ScaleType::bf16:
      return bf16_to_float(bf16_from_float(scale)) == scale;
    case ScaleType::f16_7bit:
      return scale >= 0.0f && exact_f16(scale) && exact_f16(7.5f * scale);
    case ScaleType::e8m0: {
      int exponent = 0;
      return scale > 0.0f && std::frexp(scale, &exponent) == 0.5f && exponent >= -126;
    }
    case ScaleType::e4m3:
      return scale >= 0.0f && is_e4m3(scale);
  }
  return false;
}

}  // namespace terse
