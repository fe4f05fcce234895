#include "export/gguf_pack.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/half.h"
#include "export/parallel_rows.h"

namespace terse {
namespace {

void put_half(float scale, std::byte* out) {
  const uint16_t d = fp16_from_float(scale);
  std::memcpy(out, &d, sizeof d);
}

// Element j in the low, j + 16 in the high nibble; `plus`, 8 or 16, makes the integers unsigned.
// Eight at a time: of four bits, adding 8 turns the highest, and 16 is nothing.
void put_nibbles(const int8_t* x, int plus, std::byte* out) {
  constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0fu, kTop = 0x0808080808080808u;
  const uint64_t turned = plus == 8 ? kTop : 0;
  for (int j = 0; j < 16; j += 8) {
    uint64_t low, high;
    std::memcpy(&low, x + j, sizeof low);
    std::memcpy(&high, x + j + 16, sizeof high);
    const uint64_t both = ((low & kLow) ^ turned) | ((high & kLow) ^ turned) << 4;
    std::memcpy(out + j, &both, sizeof both);
  }
}

void pack_q4_0(const int8_t* x, const float* scales, float, std::byte* out) {
  put_half(scales[0], out);
  put_nibbles(x, 8, out + 2);
}

void pack_q4_1(const int8_t* x, const float* scales, float offset, std::byte* out) {
  put_half(scales[0], out);
  put_half(scales[0] * (offset - 8.0f), out + 2);
  put_nibbles(x, 8, out + 4);
}

void pack_q5_0(const int8_t* x, const float* scales, float, std::byte* out) {
  put_half(scales[0], out);
  uint32_t fifth = 0;
  for (int j = 0; j < 32; ++j) fifth |= static_cast<uint32_t>((x[j] + 16) >> 4) << j;
  std::memcpy(out + 2, &fifth, sizeof fifth);
  put_nibbles(x, 16, out + 6);
}

void pack_q8_0(const int8_t* x, const float* scales, float, std::byte* out) {
  put_half(scales[0], out);
  std::memcpy(out + 2, x, 32);
}

void pack_q1_0(const int8_t* x, const float* scales, float, std::byte* out) {
  put_half(scales[0], out);
  for (int i = 0; i < 16; ++i) {
    unsigned byte = 0;
    for (int j = 0; j < 8; ++j) byte |= (x[8 * i + j] > 0 ? 1u : 0u) << j;
    out[2 + i] = static_cast<std::byte>(byte);
  }
}

void pack_q2_0(const int8_t* x, const float* scales, float, std::byte* out) {
  put_half(scales[0], out);
  for (int i = 0; i < 16; ++i) {
    int byte = 0;
    for (int j = 0; j < 4; ++j) byte |= (x[4 * i + j] + 1) << 2 * j;
    out[2 + i] = static_cast<std::byte>(byte);
  }
}

void pack_tq2_0(const int8_t* x, const float* scales, float, std::byte* out) {
  for (int half = 0; half < 2; ++half)
    for (int m = 0; m < 32; ++m) {
      int byte = 0;
      for (int n = 0; n < 4; ++n) byte |= (x[128 * half + 32 * n + m] + 1) << 2 * n;
      out[32 * half + m] = static_cast<std::byte>(byte);
    }
  put_half(scales[0], out + 64);
}

// `count` bytes, each the fraction 0.t0 t1 t2 t3 t4 in base 3, of 256, rounded up so that readers
// find the digits by multiplying; digit n of byte m is element n count + m, missing ones are 0.
void put_trits(const int8_t* x, int count, int digits, std::byte* out) {
  for (int m = 0; m < count; ++m) {
    int value = 0;
    for (int n = 0; n < 5; ++n) value = 3 * value + (n < digits ? x[n * count + m] + 1 : 0);
    out[m] = static_cast<std::byte>((value * 256 + 242) / 243);
  }
}

void pack_tq1_0(const int8_t* x, const float* scales, float, std::byte* out) {
  put_trits(x, 32, 5, out);
  put_trits(x + 160, 16, 5, out + 32);
  put_trits(x + 240, 4, 4, out + 48);
  put_half(scales[0], out + 52);
}

// The nibble of a doubled E2M1 value x at x + 12: sign, and the index into 0 1 2 3 4 6 8 12; at
// what is none the nearest below, which no Codes hold.
constexpr std::array<uint8_t, 25> kFp4Nibbles = {15, 14, 14, 14, 14, 14, 13, 13, 12, 11, 10, 9, 0,
                                                 1,  2,  3,  4,  4,  5,  5,  6,  6,  6,  6,  7};

void put_fp4(const int8_t* x, int half_block, std::byte* out) {
  const auto nibble = [](int8_t code) {
    return kFp4Nibbles[std::min<size_t>(static_cast<uint8_t>(code + 12), 24)];
  };
  for (int j = 0; j < half_block; ++j)
    out[j] = static_cast<std::byte>(nibble(x[j]) | nibble(x[j + half_block]) << 4);
}

void pack_mxfp4(const int8_t* x, const float* scales, float, std::byte* out) {
  out[0] = static_cast<std::byte>(std::bit_cast<uint32_t>(scales[0]) >> 23);  // a power of two
  put_fp4(x, 16, out + 1);
}

// Of a number that E4M3 has: fp32's exponent with the other bias, and its upper three bits.
std::byte e4m3(float scale) {
  if (scale < 0x1p-6f) return static_cast<std::byte>(static_cast<int>(scale * 0x1p9f));
  return static_cast<std::byte>((std::bit_cast<uint32_t>(scale) >> 20) - (120u << 3));
}

void pack_nvfp4(const int8_t* x, const float* scales, float, std::byte* out) {
  for (int s = 0; s < 4; ++s) {
    out[s] = e4m3(scales[s]);
    put_fp4(x + 16 * s, 8, out + 4 + 8 * s);
  }
}

// TQ1_0 last among the ternary ones: the smallest, and the slowest to read.
using T = GgufType;
using S = ScaleType;
constexpr std::array<GgufPacking, 13> kPackings = {{
    {T::q1_0, "q1_0", 128, 18, 40, -1, 1, 2, 128, S::f16, pack_q1_0},
    {T::tq2_0, "tq2_0", 256, 66, 37, -1, 2, 1, 256, S::f16, pack_tq2_0},
    {T::q2_0, "q2_0", 64, 18, 41, -1, 2, 1, 64, S::f16, pack_q2_0},
    {T::tq1_0, "tq1_0", 256, 54, 36, -1, 1, 1, 256, S::f16, pack_tq1_0},
    {T::mxfp4, "mxfp4", 32, 17, 38, -12, 12, 1, 32, S::e8m0, pack_mxfp4},
    {T::nvfp4, "nvfp4", 64, 36, 39, -12, 12, 1, 16, S::e4m3, pack_nvfp4},
    {T::q4_0, "q4_0", 32, 18, 2, -8, 7, 1, 32, S::f16, pack_q4_0},
    {T::q4_1, "q4_1", 32, 20, 3, -8, 7, 1, 32, S::f16, pack_q4_1},
    {T::q5_0, "q5_0", 32, 22, 8, -16, 15, 1, 32, S::f16, pack_q5_0},
    {T::q8_0, "q8_0", 32, 34, 7, -128, 127, 1, 32, S::f16, pack_q8_0},
    {T::bf16, "bf16", 1, 2, 32, 0, 0, 1, 1, S::f32, nullptr},
    {T::f16, "f16", 1, 2, 1, 0, 0, 1, 1, S::f32, nullptr},
    {T::f32, "f32", 1, 4, 0, 0, 0, 1, 1, S::f32, nullptr},
}};

bool is_half(float x) {
  return std::isfinite(x) && fp16_to_float(fp16_from_float(x)) == x;
}

// The scale of stored integers; nothing where the type does not hold it exactly.
std::optional<float> exact_scale(const Codes& codes, float scale, int multiply,
                                 const GgufPacking& packing) {
  if (packing.scale != ScaleType::f16)
    return representable(scale, packing.scale) ? std::optional(scale) : std::nullopt;
  const float wanted =
      scale * (codes.format.unit * codes.tensor_scale) / static_cast<float>(multiply);
  const bool minimum = packing.type == GgufType::q4_1;
  if (!is_half(wanted) || (minimum && !is_half(wanted * (codes.format.offset - 8.0f))))
    return std::nullopt;
  return wanted;
}

// The same, or an error: what the file cannot hold must not be rounded silently.
float stored_scale(const Codes& codes, float scale, int multiply, const GgufPacking& packing,
                   const std::string& name) {
  if (const auto exact = exact_scale(codes, scale, multiply, packing)) return *exact;
  fail(ExitCode::invalid_file,
       "tensor \"{}\": the scale {} is not exact in the {} of {}; train with its target, or export "
       "with --requantize",
       name, scale, to_string(packing.scale), packing.name);
}

// A row of scales as it is stored: one for each `packing.group` columns.
void stored_scales(const Codes& codes, int64_t row, int multiply, const GgufPacking& packing,
                   const std::string& name, std::vector<float>& out) {
  const bool one = codes.format.group < 0;  // of the whole tensor
  const int64_t groups = one ? 1 : codes.groups();
  const float* from = codes.scales.data() + (one ? 0 : row * groups);
  const int64_t each = groups > 0 ? codes.columns / packing.group / groups : 0;
  for (int64_t g = 0; g < groups; ++g)
    std::fill_n(out.begin() + g * each, each,
                stored_scale(codes, from[g], multiply, packing, name));
}

}  // namespace

std::span<const GgufPacking> gguf_packings() {
  return kPackings;
}

const GgufPacking& gguf_packing(GgufType type) {
  for (const GgufPacking& packing : kPackings)
    if (packing.type == type) return packing;
  TERSE_CHECK(false, "type {}", static_cast<uint32_t>(type));
}

bool gguf_holds_scales(const Codes& codes, const GgufPacking& packing) {
  const Fit fit = gguf_fit(codes.format, packing);
  return fit.verdict != Verdict::impossible && std::ranges::all_of(codes.scales, [&](float scale) {
           return exact_scale(codes, scale, fit.multiply, packing).has_value();
         });
}

void gguf_pack_codes(const Codes& codes, const GgufPacking& packing, const std::string& name,
                     const std::function<int64_t(int64_t)>& row_of, const ByteSink& sink) {
  const Fit fit = gguf_fit(codes.format, packing);
  TERSE_CHECK(fit.verdict != Verdict::impossible && codes.columns % packing.block == 0, "{}", name);
  const int64_t blocks = codes.columns / packing.block;
  const int64_t scales_of_block = packing.block / packing.group;
  const bool same = fit.multiply == 1 && fit.add == 0;
  const auto fill = [&](int64_t r, std::byte* out) {
    static thread_local std::vector<int8_t> integers;
    static thread_local std::vector<float> scales;
    const int64_t from = row_of ? row_of(r) : r;
    const int8_t* stored = codes.codes.data() + from * codes.columns;
    if (!same) {
      integers.resize(static_cast<size_t>(codes.columns));
      std::transform(stored, stored + codes.columns, integers.begin(), [&](int8_t code) {
        return static_cast<int8_t>(code * fit.multiply + fit.add);
      });
      stored = integers.data();
    }
    scales.resize(static_cast<size_t>(blocks * scales_of_block));
    stored_scales(codes, from, fit.multiply, packing, name, scales);
    for (int64_t b = 0; b < blocks; ++b)
      packing.pack(stored + b * packing.block, scales.data() + b * scales_of_block,
                   codes.format.offset, out + b * packing.bytes);
  };
  send_rows(codes.rows, blocks * packing.bytes, codes.columns, sink, fill);
}

}  // namespace terse
