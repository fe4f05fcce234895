// Decoding of ggml's blocks, from the format's definition (ggml-quants.c) and not from our packer.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "export/gguf.h"

namespace terse {
namespace {

template <typename T>
T read(const std::byte* in) {
  T value;
  std::memcpy(&value, in, sizeof value);
  return value;
}

float block_scale(const std::byte* in) {
  return fp16_to_float(read<uint16_t>(in));
}

void decode_f32(const std::byte* in, float* out) {
  *out = read<float>(in);
}
void decode_f16(const std::byte* in, float* out) {
  *out = block_scale(in);
}
void decode_bf16(const std::byte* in, float* out) {
  *out = bf16_to_float(read<uint16_t>(in));
}

// Q4_0: fp16 d, then 16 bytes; byte j holds element j in its low and j + 16 in its high nibble.
void split_q4_0(const std::byte* in, int8_t* codes, float* scale) {
  *scale = block_scale(in);
  for (int j = 0; j < 16; ++j) {
    const int byte = std::to_integer<int>(in[2 + j]);
    codes[j] = static_cast<int8_t>(byte % 16 - 8);
    codes[j + 16] = static_cast<int8_t>(byte / 16 - 8);
  }
}

// Q8_0: fp16 d, then 32 signed bytes.
void split_q8_0(const std::byte* in, int8_t* codes, float* scale) {
  *scale = block_scale(in);
  for (int j = 0; j < 32; ++j) codes[j] = read<int8_t>(in + 2 + j);
}

template <auto Split, int Block>
void decode_codes(const std::byte* in, float* out) {
  std::array<int8_t, Block> codes;
  float scale = 0;
  Split(in, codes.data(), &scale);
  for (int j = 0; j < Block; ++j)
    out[j] = static_cast<float>(codes[static_cast<size_t>(j)]) * scale;
}

constexpr GgufBlockInfo kBlocks[] = {
    {0, "F32", 1, 4, decode_f32, nullptr},
    {1, "F16", 1, 2, decode_f16, nullptr},
    {2, "Q4_0", 32, 18, decode_codes<split_q4_0, 32>, split_q4_0},
    {3, "Q4_1", 32, 20, nullptr, nullptr},
    {6, "Q5_0", 32, 22, nullptr, nullptr},
    {7, "Q5_1", 32, 24, nullptr, nullptr},
    {8, "Q8_0", 32, 34, decode_codes<split_q8_0, 32>, split_q8_0},
    {10, "Q2_K", 256, 84, nullptr, nullptr},
    {11, "Q3_K", 256, 110, nullptr, nullptr},
    {12, "Q4_K", 256, 144, nullptr, nullptr},
    {13, "Q5_K", 256, 176, nullptr, nullptr},
    {14, "Q6_K", 256, 210, nullptr, nullptr},
    {24, "I8", 1, 1, nullptr, nullptr},
    {25, "I16", 1, 2, nullptr, nullptr},
    {26, "I32", 1, 4, nullptr, nullptr},
    {27, "I64", 1, 8, nullptr, nullptr},
    {28, "F64", 1, 8, nullptr, nullptr},
    {30, "BF16", 1, 2, decode_bf16, nullptr},
    {34, "TQ1_0", 256, 54, nullptr, nullptr},
    {35, "TQ2_0", 256, 66, nullptr, nullptr},
    {39, "MXFP4", 32, 17, nullptr, nullptr},
    {40, "NVFP4", 64, 36, nullptr, nullptr},
    {41, "Q1_0", 128, 18, nullptr, nullptr},
    {42, "Q2_0", 64, 18, nullptr, nullptr},
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
  for (int64_t b = 0; b < blocks; ++b)
    info->decode(tensor.data.data() + b * info->bytes, out + b * info->block);
}

std::optional<Codes> gguf_codes(const GgufTensor& tensor) {
  const GgufBlockInfo* info = gguf_block_info(tensor.type);
  if (info == nullptr || info->split == nullptr || tensor.shape.size() != 2) return std::nullopt;
  Codes codes;
  codes.rows = tensor.shape[0];
  codes.columns = tensor.shape[1];
  codes.format.grid = "int_signed";
  codes.format.bits = info->type == 2 ? 4 : 8;
  codes.format.code_min = -(1 << (codes.format.bits - 1));
  codes.format.code_max = (1 << (codes.format.bits - 1)) - 1;
  codes.format.group = info->block;
  codes.format.scale_type = ScaleType::f16;
  codes.codes.resize(static_cast<size_t>(tensor.numel()));
  codes.scales.resize(static_cast<size_t>(tensor.numel() / info->block));
  for (size_t b = 0; b < codes.scales.size(); ++b)
    info->split(tensor.data.data() + static_cast<int64_t>(b) * info->bytes,
                codes.codes.data() + static_cast<int64_t>(b) * info->block, &codes.scales[b]);
  // ggml's own 8-bit encoder, as ours, never makes -128, though the type can hold it.
  const bool has_least =
      std::find(codes.codes.begin(), codes.codes.end(), -128) != codes.codes.end();
  if (info->type == 8 && !has_least) codes.format.code_min = -127;
  return codes;
}

}  // namespace terse
