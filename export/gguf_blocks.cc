// Decoding of ggml's blocks, from the format's definition (ggml-quants.c) and not from our packer.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "export/gguf.h"
#include "export/parallel_rows.h"

namespace terse {
namespace {

template <typename T>
T read(const std::byte* in) {
  T value;
  std::memcpy(&value, in, sizeof value);
  return value;
}

int byte_at(const std::byte* in, int i) {
  return std::to_integer<int>(in[i]);
}

float half_at(const std::byte* in) {
  return fp16_to_float(read<uint16_t>(in));
}

void decode_f32(const std::byte* in, float* out) {
  *out = read<float>(in);
}
void decode_f16(const std::byte* in, float* out) {
  *out = half_at(in);
}
void decode_bf16(const std::byte* in, float* out) {
  *out = bf16_to_float(read<uint16_t>(in));
}

// 16 bytes; byte j holds element j in its low and j + 16 in its high nibble. Eight at a time: with
// the top bit of each byte set before and turned after, no difference borrows from its neighbour.
void split_nibbles(const std::byte* in, unsigned minus, int8_t* codes) {
  constexpr uint64_t kLow = 0x0f0f0f0f0f0f0f0fu, kTop = 0x8080808080808080u;
  const uint64_t less = minus * uint64_t{0x0101010101010101u};
  for (int j = 0; j < 16; j += 8) {
    const auto eight = read<uint64_t>(in + j);
    const uint64_t low = (((eight & kLow) | kTop) - less) ^ kTop;
    const uint64_t high = (((eight >> 4 & kLow) | kTop) - less) ^ kTop;
    std::memcpy(codes + j, &low, sizeof low);
    std::memcpy(codes + j + 16, &high, sizeof high);
  }
}

// Q4_0: fp16 d, nibbles. Q4_1: fp16 d, fp16 m, nibbles u; d u + m.
void split_q4_0(const std::byte* in, int8_t* codes, float* scales) {
  *scales = half_at(in);
  split_nibbles(in + 2, 8, codes);
}
void split_q4_1(const std::byte* in, int8_t* codes, float* scales) {
  *scales = half_at(in);
  split_nibbles(in + 4, 8, codes);
}
void decode_q4_1(const std::byte* in, float* out) {
  std::array<int8_t, 32> codes;
  split_nibbles(in + 4, 0, codes.data());
  const float d = half_at(in), m = half_at(in + 2);
  for (size_t j = 0; j < 32; ++j) out[j] = d * static_cast<float>(codes[j]) + m;
}

// Q5_0: fp16 d, u32 with the fifth bit of element j at bit j, nibbles.
void split_q5_0(const std::byte* in, int8_t* codes, float* scales) {
  *scales = half_at(in);
  split_nibbles(in + 6, 16, codes);
  const auto high = read<uint32_t>(in + 2);
  for (int j = 0; j < 32; ++j) codes[j] = static_cast<int8_t>(codes[j] + 16 * (high >> j & 1u));
}

// Q8_0: fp16 d, then 32 signed bytes.
void split_q8_0(const std::byte* in, int8_t* codes, float* scales) {
  *scales = half_at(in);
  for (int j = 0; j < 32; ++j) codes[j] = read<int8_t>(in + 2 + j);
}

// Q1_0: fp16 d, 128 bits, 1 = +d, 0 = -d.
void split_q1_0(const std::byte* in, int8_t* codes, float* scales) {
  *scales = half_at(in);
  for (int j = 0; j < 128; ++j)
    codes[j] = static_cast<int8_t>(2 * (byte_at(in, 2 + j / 8) >> j % 8 & 1) - 1);
}

// Q2_0: fp16 d, 64 times two bits q; (q - 1) d.
void split_q2_0(const std::byte* in, int8_t* codes, float* scales) {
  *scales = half_at(in);
  for (int j = 0; j < 64; ++j)
    codes[j] = static_cast<int8_t>((byte_at(in, 2 + j / 4) >> 2 * (j % 4) & 3) - 1);
}

// TQ2_0: per 128 elements 32 bytes, byte m holding elements m, m + 32, m + 64, m + 96 from bit 0
// on; fp16 d.
void split_tq2_0(const std::byte* in, int8_t* codes, float* scales) {
  *scales = half_at(in + 64);
  for (int j = 0; j < 256; ++j)
    codes[j] =
        static_cast<int8_t>((byte_at(in, j / 128 * 32 + j % 32) >> 2 * (j % 128 / 32) & 3) - 1);
}

// `count` bytes of `digits` base-3 digits each, as fractions of 256: the first digit is what 3
// times the byte carries over. Digit n of byte m is element n count + m.
void split_trits(const std::byte* in, int count, int digits, int8_t* codes) {
  for (int m = 0; m < count; ++m) {
    int fraction = byte_at(in, m);
    for (int n = 0; n < digits; ++n) {
      codes[n * count + m] = static_cast<int8_t>(fraction * 3 / 256 - 1);
      fraction = fraction * 3 % 256;
    }
  }
}

// TQ1_0: 32 and 16 bytes of five trits, 4 bytes of four; fp16 d.
void split_tq1_0(const std::byte* in, int8_t* codes, float* scales) {
  split_trits(in, 32, 5, codes);
  split_trits(in + 32, 16, 5, codes + 160);
  split_trits(in + 48, 4, 4, codes + 240);
  *scales = half_at(in + 52);
}

// E2M1, doubled. ggml's table of integers has no -0.
constexpr std::array<int8_t, 16> kDoubledE2m1 = {0, 1,  2,  3,  4,  6,  8,  12,
                                                 0, -1, -2, -3, -4, -6, -8, -12};

void split_fp4(const std::byte* in, int half_block, int8_t* codes) {
  for (int j = 0; j < half_block; ++j) {
    codes[j] = kDoubledE2m1[static_cast<size_t>(byte_at(in, j) % 16)];
    codes[j + half_block] = kDoubledE2m1[static_cast<size_t>(byte_at(in, j) / 16)];
  }
}

// MXFP4: E8M0 e, nibbles. The scale of doubled values is half of 2^(e - 127).
void split_mxfp4(const std::byte* in, int8_t* codes, float* scales) {
  *scales = std::ldexp(1.0f, byte_at(in, 0) - 128);
  split_fp4(in + 1, 16, codes);
}

// UE4M3, halved: bit 7 does not count, and 0x7f, which would be NaN, is 0.
float half_e4m3(int byte) {
  const int exponent = byte >> 3 & 15, mantissa = byte & 7;
  if (byte == 0x7f) return 0.0f;
  if (exponent == 0) return std::ldexp(static_cast<float>(mantissa), -10);
  return std::ldexp(static_cast<float>(8 + mantissa), exponent - 11);
}

// NVFP4: four UE4M3, then for each 16 elements 8 bytes of nibbles.
void split_nvfp4(const std::byte* in, int8_t* codes, float* scales) {
  for (int s = 0; s < 4; ++s) {
    scales[s] = half_e4m3(byte_at(in, s));
    split_fp4(in + 4 + 8 * s, 8, codes + 16 * s);
  }
}

template <auto Split, int Block, int Group = Block>
void decode_codes(const std::byte* in, float* out) {
  std::array<int8_t, Block> codes;
  std::array<float, Block / Group> scales;
  Split(in, codes.data(), scales.data());
  for (size_t j = 0; j < codes.size(); ++j)
    out[j] = static_cast<float>(codes[j]) * scales[j / Group];
}

constexpr GgufBlockInfo kBlocks[] = {
    {0, "F32", 1, 4, decode_f32, nullptr, 0},
    {1, "F16", 1, 2, decode_f16, nullptr, 0},
    {2, "Q4_0", 32, 18, decode_codes<split_q4_0, 32>, split_q4_0, 32},
    {3, "Q4_1", 32, 20, decode_q4_1, split_q4_1, 32},
    {6, "Q5_0", 32, 22, decode_codes<split_q5_0, 32>, split_q5_0, 32},
    {7, "Q5_1", 32, 24, nullptr, nullptr, 0},
    {8, "Q8_0", 32, 34, decode_codes<split_q8_0, 32>, split_q8_0, 32},
    {10, "Q2_K", 256, 84, nullptr, nullptr, 0},
    {11, "Q3_K", 256, 110, nullptr, nullptr, 0},
    {12, "Q4_K", 256, 144, nullptr, nullptr, 0},
    {13, "Q5_K", 256, 176, nullptr, nullptr, 0},
    {14, "Q6_K", 256, 210, nullptr, nullptr, 0},
    {24, "I8", 1, 1, nullptr, nullptr, 0},
    {25, "I16", 1, 2, nullptr, nullptr, 0},
    {26, "I32", 1, 4, nullptr, nullptr, 0},
    {27, "I64", 1, 8, nullptr, nullptr, 0},
    {28, "F64", 1, 8, nullptr, nullptr, 0},
    {30, "BF16", 1, 2, decode_bf16, nullptr, 0},
    {34, "TQ1_0", 256, 54, decode_codes<split_tq1_0, 256>, split_tq1_0, 256},
    {35, "TQ2_0", 256, 66, decode_codes<split_tq2_0, 256>, split_tq2_0, 256},
    {39, "MXFP4", 32, 17, decode_codes<split_mxfp4, 32>, split_mxfp4, 32},
    {40, "NVFP4", 64, 36, decode_codes<split_nvfp4, 64, 16>, split_nvfp4, 16},
    {41, "Q1_0", 128, 18, decode_codes<split_q1_0, 128>, split_q1_0, 128},
    {42, "Q2_0", 64, 18, decode_codes<split_q2_0, 64>, split_q2_0, 64},
};

}  // namespace

const GgufBlockInfo* gguf_block_info(uint32_t type) {
  for (const GgufBlockInfo& info : kBlocks)
    if (info.type == type) return &info;
  return nullptr;
}

void gguf_decode(const GgufTensor& tensor, float* out) {
  const GgufBlockInfo* info = gguf_block_info(tensor.type);
  if (info == nullptr || info->decode == nullptr)
    fail(ExitCode::invalid_file, "tensor \"{}\": terse cannot decode {} yet", tensor.name,
         info == nullptr ? "this type" : info->name);
  const int64_t blocks = tensor.numel() / info->block;
  const int64_t together = std::max<int64_t>(1, 8192 / info->block);
  each_row((blocks + together - 1) / together, 8192, [&](int64_t part) {
    for (int64_t b = part * together; b < std::min(blocks, (part + 1) * together); ++b)
      info->decode(tensor.data.data() + b * info->bytes, out + b * info->block);
  });
}

}  // namespace terse
