// Codes out of ggml's blocks: what each type's integers are on terse's grids.
#include <algorithm>
#include <cmath>

#include "base/half.h"
#include "export/gguf.h"

namespace terse {
namespace {

// Stored integer x (GgufBlockInfo::split) and scale -> code = (x - add) / divide and scale times
// `scale_factor`.
struct CodesOfType {
  uint32_t type;
  CodeFormat format;
  int divide = 1;
  int add = 0;
  float scale_factor = 1.0f;
};

const CodesOfType* codes_of_type(uint32_t type) {
  using S = ScaleType;
  static const CodesOfType kTypes[] = {
      {2, {"int_signed", 4, -8, 7, 0.0f, 32, S::f16, 0}},
      {3, {"int_signed", 4, -8, 7, 0.0f, 32, S::f16, 0}},
      {6, {"int_signed", 5, -16, 15, 0.0f, 32, S::f16, 0}},
      {8, {"int_signed", 8, -128, 127, 0.0f, 32, S::f16, 0}},
      {34, {"ternary", 2, -1, 1, 0.0f, 256, S::f16, 0}},
      {35, {"ternary", 2, -1, 1, 0.0f, 256, S::f16, 0}},
      {39, {"fp4", 4, -12, 12, 0.0f, 32, S::e8m0, 0, "", 0.5f}, 1, 0, 2.0f},
      {40, {"fp4", 4, -12, 12, 0.0f, 16, S::e4m3, 0, "", 0.5f}, 1, 0, 2.0f},
      {41, {"half_int", 1, -1, 0, 0.5f, 128, S::f16, 0}, 2, 1, 2.0f},
      {42, {"ternary", 2, -1, 1, 0.0f, 64, S::f16, 0}},
  };
  for (const CodesOfType& row : kTypes)
    if (row.type == type) return &row;
  return nullptr;
}

bool has(const Codes& codes, int code) {
  return std::find(codes.codes.begin(), codes.codes.end(), code) != codes.codes.end();
}

// Types that can hold one code more than the grid that training uses.
void choose_range(uint32_t type, Codes& codes) {
  // ggml's own 8-bit encoder, as ours, never makes -128, though the type can hold it.
  if (type == 8 && !has(codes, -128)) codes.format.code_min = -127;
  const bool beyond_ternary = (type == 42 && has(codes, 2)) || (type == 35 && has(codes, 2));
  if (beyond_ternary) {
    codes.format.grid = "int_signed";
    codes.format.code_max = 2;
  }
}

// Q4_1 is (x + 8) d + m: on a grid of ours if m is the same multiple of d in every block.
bool choose_minimum(const GgufTensor& tensor, int64_t block_bytes, Codes& codes) {
  const auto minimum_is = [&](float multiple) {
    for (size_t b = 0; b < codes.scales.size(); ++b) {
      const std::byte* at = tensor.data.data() + static_cast<int64_t>(b) * block_bytes + 2;
      const auto bits = static_cast<uint16_t>(std::to_integer<unsigned>(at[0]) |
                                              std::to_integer<unsigned>(at[1]) << 8);
      if (fp16_to_float(bits) != multiple * codes.scales[b]) return false;
    }
    return true;
  };
  if (minimum_is(-7.5f)) {
    codes.format.grid = "half_int";
    codes.format.offset = 0.5f;
    codes.format.scale_type = ScaleType::f16_7bit;
    return true;
  }
  return minimum_is(-8.0f);
}

bool scales_fit(const Codes& codes) {
  int exponent = 0;
  const bool power = std::isnormal(codes.tensor_scale) && codes.tensor_scale > 0 &&
                     std::frexp(codes.tensor_scale, &exponent) == 0.5f && std::abs(exponent) < 100;
  return power && std::all_of(codes.scales.begin(), codes.scales.end(), [&](float scale) {
           return representable(scale, codes.format.scale_type);
         });
}

}  // namespace

std::optional<Codes> gguf_codes(const GgufTensor& tensor, float tensor_scale) {
  const GgufBlockInfo* info = gguf_block_info(tensor.type);
  const CodesOfType* row = codes_of_type(tensor.type);
  if (info == nullptr || row == nullptr || tensor.shape.size() != 2) return std::nullopt;
  Codes codes;
  codes.format = row->format;
  codes.rows = tensor.shape[0];
  codes.columns = tensor.shape[1];
  codes.tensor_scale = tensor_scale;
  codes.codes.resize(static_cast<size_t>(tensor.numel()));
  codes.scales.resize(static_cast<size_t>(tensor.numel() / info->group));
  const int64_t scales = info->block / info->group;
  for (int64_t b = 0; b < tensor.numel() / info->block; ++b)
    info->split(tensor.data.data() + b * info->bytes, codes.codes.data() + b * info->block,
                codes.scales.data() + b * scales);
  if (row->divide == 2)
    for (int8_t& code : codes.codes) code = static_cast<int8_t>((code - row->add) >> 1);
  for (float& scale : codes.scales) scale *= row->scale_factor;
  choose_range(tensor.type, codes);
  if (tensor.type == 3 && !choose_minimum(tensor, info->bytes, codes)) return std::nullopt;
  if (!scales_fit(codes)) return std::nullopt;
  return codes;
}

}  // namespace terse
