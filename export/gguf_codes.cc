// Codes out of ggml's blocks: what each type's integers are on terse's grids.
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "export/gguf.h"
#include "export/parallel_rows.h"

namespace terse {
namespace {

// Stored integer x (GgufBlockInfo::split) and scale -> code = (x - add) / divide and scale times
// `scale_factor`.
struct CodesOfType {
  CodeFormat format;
  uint32_t type;
  int divide = 1;
  int add = 0;
  float scale_factor = 1.0f;
};

constexpr uint32_t kQ4_1 = 3;

const CodesOfType* codes_of_type(uint32_t type) {
  using S = ScaleType;
  static const CodesOfType kTypes[] = {
      {{"int_signed", 4, -8, 7, 0.0f, 32, S::f16, 0}, 2},
      {{"int_signed", 4, -8, 7, 0.0f, 32, S::f16, 0}, 3},
      {{"int_signed", 5, -16, 15, 0.0f, 32, S::f16, 0}, 6},
      {{"int_signed", 8, -128, 127, 0.0f, 32, S::f16, 0}, 8},
      {{"ternary", 2, -1, 1, 0.0f, 256, S::f16, 0}, 34},
      {{"ternary", 2, -1, 1, 0.0f, 256, S::f16, 0}, 35},
      {{"fp4", 4, -12, 12, 0.0f, 32, S::e8m0, 0, "", 0.5f}, 39, 1, 0, 2.0f},
      {{"fp4", 4, -12, 12, 0.0f, 16, S::e4m3, 0, "", 0.5f}, 40, 1, 0, 2.0f},
      {{"half_int", 1, -1, 0, 0.5f, 128, S::f16, 0}, 41, 2, 1, 2.0f},
      {{"ternary", 2, -1, 1, 0.0f, 64, S::f16, 0}, 42},
  };
  for (const CodesOfType& row : kTypes)
    if (row.type == type) return &row;
  return nullptr;
}

constexpr int64_t kBlocks = 512;  // that a thread splits at a time

// What the blocks of a tensor hold, beyond what their type says.
struct Seen {
  int8_t least = 127, most = -128;        // of the codes
  bool scales_fit = true;                 // the type's own scale type
  bool minus_7_5 = true, minus_8 = true;  // Q4_1: the minimum is so many scales,
  bool seven_bits = true;                 // and what the first then asks of a scale
  void add(const Seen& other) {
    least = std::min(least, other.least);
    most = std::max(most, other.most);
    scales_fit &= other.scales_fit;
    minus_7_5 &= other.minus_7_5;
    minus_8 &= other.minus_8;
    seven_bits &= other.seven_bits;
  }
};

class Blocks {
 public:
  Blocks(const GgufTensor& tensor, const GgufBlockInfo& info, const CodesOfType& type)
      : tensor_(tensor), info_(info), type_(type), count_(tensor.numel() / info.block) {}

  // Work(first block, how many), on all threads.
  template <typename Work>
  void each(const Work& work) const {
    const int64_t chunks = (count_ + kBlocks - 1) / kBlocks;
    each_row(chunks, kBlocks * info_.block, [&](int64_t chunk) {
      work(chunk * kBlocks, std::min(kBlocks, count_ - chunk * kBlocks));
    });
  }

  int64_t scales() const { return info_.block / info_.group; }  // of a block

  void split(int64_t first, int64_t count, int8_t* codes, float* scales_out) const {
    for (int64_t b = 0; b < count; ++b)
      info_.split(tensor_.data.data() + (first + b) * info_.bytes, codes + b * info_.block,
                  scales_out + b * scales());
    if (type_.divide == 2)
      for (int64_t i = 0; i < count * info_.block; ++i)
        codes[i] = static_cast<int8_t>((codes[i] - type_.add) >> 1);
    if (type_.scale_factor != 1.0f)
      for (int64_t i = 0; i < count * scales(); ++i) scales_out[i] *= type_.scale_factor;
  }

  Seen see() const {
    std::vector<Seen> seen(static_cast<size_t>((count_ + kBlocks - 1) / kBlocks));
    each([&](int64_t first, int64_t count) {
      static thread_local std::vector<int8_t> codes;
      static thread_local std::vector<float> scales_in;
      codes.resize(static_cast<size_t>(count * info_.block));
      scales_in.resize(static_cast<size_t>(count * scales()));
      split(first, count, codes.data(), scales_in.data());
      seen[static_cast<size_t>(first / kBlocks)] = look(first, codes, scales_in);
    });
    Seen all;
    for (const Seen& one : seen) all.add(one);
    return all;
  }

 private:
  Seen look(int64_t first, const std::vector<int8_t>& codes,
            const std::vector<float>& scales_in) const {
    Seen seen;
    for (const int8_t code : codes) {
      seen.least = std::min(seen.least, code);
      seen.most = std::max(seen.most, code);
    }
    for (const float scale : scales_in)
      seen.scales_fit &= representable(scale, type_.format.scale_type);
    if (tensor_.type != kQ4_1) return seen;
    for (size_t b = 0; b < scales_in.size(); ++b) {
      const float minimum = minimum_of(first + static_cast<int64_t>(b));
      seen.minus_7_5 &= minimum == -7.5f * scales_in[b];
      seen.minus_8 &= minimum == -8.0f * scales_in[b];
      seen.seven_bits &= representable(scales_in[b], ScaleType::f16_7bit);
    }
    return seen;
  }

  // Q4_1 is (x + 8) d + m: fp16 d, fp16 m.
  float minimum_of(int64_t block) const {
    const std::byte* at = tensor_.data.data() + block * info_.bytes + 2;
    return fp16_to_float(static_cast<uint16_t>(std::to_integer<unsigned>(at[0]) |
                                               std::to_integer<unsigned>(at[1]) << 8));
  }

  const GgufTensor& tensor_;
  const GgufBlockInfo& info_;
  const CodesOfType& type_;
  int64_t count_;
};

// Types that can hold one code more than the grid that training uses.
void choose_range(uint32_t type, const Seen& seen, CodeFormat& format) {
  // ggml's own 8-bit encoder, as ours, never makes -128, though the type can hold it.
  if (type == 8 && seen.least > -128) format.code_min = -127;
  if ((type == 42 || type == 35) && seen.most == 2) {
    format.grid = "int_signed";
    format.code_max = 2;
  }
}

// Of Q4_1, on a grid of ours if m is the same multiple of d in every block.
bool choose_minimum(const Seen& seen, CodeFormat& format) {
  if (!seen.minus_7_5) return seen.minus_8 && seen.scales_fit;
  format.grid = "half_int";
  format.offset = 0.5f;
  format.scale_type = ScaleType::f16_7bit;
  return seen.seven_bits;
}

bool is_tensor_scale(float scale) {
  int exponent = 0;
  return std::isnormal(scale) && scale > 0 && std::frexp(scale, &exponent) == 0.5f &&
         std::abs(exponent) < 100;
}

// The row of a matrix whose blocks are codes; null for others.
const CodesOfType* coded(const GgufTensor& tensor) {
  const bool matrix = gguf_block_info(tensor.type) != nullptr && tensor.shape.size() == 2;
  return matrix ? codes_of_type(tensor.type) : nullptr;
}

}  // namespace

std::optional<CodeFormat> gguf_code_format(const GgufTensor& tensor, float tensor_scale) {
  const CodesOfType* row = coded(tensor);
  if (row == nullptr || !is_tensor_scale(tensor_scale)) return std::nullopt;
  CodeFormat format = row->format;
  const Seen seen = Blocks(tensor, *gguf_block_info(tensor.type), *row).see();
  choose_range(tensor.type, seen, format);
  const bool fits = tensor.type == kQ4_1 ? choose_minimum(seen, format) : seen.scales_fit;
  if (!fits) return std::nullopt;
  return format;
}

Codes gguf_codes_as(const GgufTensor& tensor, const CodeFormat& format, float tensor_scale) {
  const CodesOfType* row = coded(tensor);
  TERSE_CHECK(row != nullptr, "{}", tensor.name);
  const GgufBlockInfo& info = *gguf_block_info(tensor.type);
  Codes codes;
  codes.format = format;
  codes.rows = tensor.shape[0];
  codes.columns = tensor.shape[1];
  codes.tensor_scale = tensor_scale;
  codes.codes.resize(static_cast<size_t>(tensor.numel()));
  codes.scales.resize(static_cast<size_t>(tensor.numel() / info.group));
  const Blocks blocks(tensor, info, *row);
  blocks.each([&](int64_t first, int64_t count) {
    blocks.split(first, count, codes.codes.data() + first * info.block,
                 codes.scales.data() + first * blocks.scales());
  });
  return codes;
}

std::optional<Codes> gguf_codes(const GgufTensor& tensor, float tensor_scale) {
  const auto format = gguf_code_format(tensor, tensor_scale);
  if (!format) return std::nullopt;
  return gguf_codes_as(tensor, *format, tensor_scale);
}

}  // namespace terse
