// Blocks byte by byte against ggml and gguf-py: golden/make_gguf_blocks.py made the file.
#include <gtest/gtest.h>

#include <cctype>
#include <cstring>

#include "export/gguf.h"
#include "export/gguf_pack.h"
#include "export/safetensors.h"
#include "tests/export/sample_artifact.h"

namespace terse {
namespace {

const SafetensorsFile& golden() {
  static const SafetensorsFile file(TERSE_SOURCE_DIR
                                    "/tests/export/golden/gguf_blocks.safetensors");
  return file;
}

std::string upper(std::string name) {
  for (char& c : name) c = static_cast<char>(std::toupper(c));
  return name;
}

// The golden file's blocks of a type as a matrix of 256 columns.
GgufTensor tensor_of(const GgufPacking& packing, const std::string& what) {
  const auto data = golden().require(upper(packing.name) + what).data;
  const auto elements = static_cast<int64_t>(data.size()) / packing.bytes * packing.block;
  return {packing.name, {elements / 256, 256}, static_cast<uint32_t>(packing.type), data};
}

void expect_equal(const std::vector<float>& values, const std::string& name) {
  const auto expected = golden().require(name).data;
  ASSERT_EQ(expected.size(), values.size() * sizeof(float));
  EXPECT_EQ(std::memcmp(values.data(), expected.data(), expected.size()), 0) << name;
}

std::vector<float> decoded(const GgufTensor& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.numel()));
  gguf_decode(tensor, values.data());
  return values;
}

std::vector<std::byte> pack(const Codes& codes, GgufType type) {
  std::vector<std::byte> bytes;
  gguf_pack_codes(codes, gguf_packing(type), "w", nullptr,
                  [&](auto piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
  return bytes;
}

class GgufBlocks : public ::testing::TestWithParam<GgufPacking> {};

TEST_P(GgufBlocks, DecodeAsGgmlDoes) {
  const std::string name = upper(GetParam().name);
  expect_equal(decoded(tensor_of(GetParam(), ".blocks")), name + ".values");
  expect_equal(decoded(tensor_of(GetParam(), ".noise")), name + ".noise.values");
}

TEST(GgufDense, DecodesAsGgufPyDoes) {
  for (const GgufType type : {GgufType::bf16, GgufType::f16}) {
    const GgufPacking& packing = gguf_packing(type);
    expect_equal(decoded(tensor_of(packing, ".blocks")), upper(packing.name) + ".values");
  }
}

// ggml's blocks -> Codes -> our packer -> the same bytes; and Codes::decode gives what ggml
// decodes, which is promise 1 in small.
void expect_same_bytes(const GgufPacking& packing, const std::string& what) {
  const GgufTensor tensor = tensor_of(packing, what);
  const std::optional<Codes> codes = gguf_codes(tensor);
  ASSERT_TRUE(codes.has_value());
  codes->validate(packing.name);
  std::vector<float> values(codes->codes.size());
  codes->decode(values.data());
  EXPECT_EQ(values, decoded(tensor));
  const std::vector<std::byte> bytes = pack(*codes, packing.type);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), tensor.data.begin(), tensor.data.end()));
}

TEST_P(GgufBlocks, PackToGgmlsBytes) {
  const GgufPacking& packing = GetParam();
  if (packing.type == GgufType::q4_1) {  // ggml's encoder picks minima freely: on no grid of ours
    EXPECT_FALSE(gguf_codes(tensor_of(packing, ".blocks")).has_value());
    return;
  }
  expect_same_bytes(packing, ".blocks");
  // Of noise, TQ1_0 and the fp4 types have several bytes for one value.
  const bool unique = packing.type != GgufType::tq1_0 && packing.scale == ScaleType::f16;
  if (unique) expect_same_bytes(packing, ".noise");
}

INSTANTIATE_TEST_SUITE_P(Types, GgufBlocks, ::testing::ValuesIn(coded_packings()),
                         [](const auto& test) { return std::string(test.param.name); });

// What training makes, in every type that says it fits: decoded by the reader, the same values.
TEST(GgufPack, WhateverFitsDecodesToTheSameValues) {
  int possible = 0;
  for (const std::string& kind : sample_kinds())
    for (const GgufPacking& packing : coded_packings()) {
      const Codes codes = sample_codes(4, 512, kind, 7);
      if (gguf_fit(codes.format, packing).verdict == Verdict::impossible) continue;
      ++possible;
      const std::vector<std::byte> bytes = pack(codes, packing.type);
      std::vector<float> values(4 * 512);
      codes.decode(values.data());
      std::vector<float> read =
          decoded({"w", {4, 512}, static_cast<uint32_t>(packing.type), bytes});
      for (float& value : read) value *= has_scale_tensor(packing) ? codes.tensor_scale : 1.0f;
      EXPECT_EQ(read, values) << kind << " as " << packing.name;
    }
  EXPECT_GT(possible, 25);
}

// The type of a training target takes its codes and gives them back.
TEST(GgufPack, CodesComeBack) {
  for (const std::string kind :
       {"q4_0", "q4_1", "q8_0", "q1_0", "q2_0", "tq2_0", "tq1_0", "mxfp4", "nvfp4", "q5_0"}) {
    const Codes codes = sample_codes(4, 512, kind, 3);
    for (const GgufPacking& packing : coded_packings()) {
      if (kind != packing.name) continue;
      const std::vector<std::byte> bytes = pack(codes, packing.type);
      const auto read = gguf_codes({"w", {4, 512}, static_cast<uint32_t>(packing.type), bytes},
                                   codes.tensor_scale);
      ASSERT_TRUE(read.has_value()) << kind;
      EXPECT_EQ(gguf_code_format({"w", {4, 512}, static_cast<uint32_t>(packing.type), bytes},
                                 codes.tensor_scale),
                read->format);
      EXPECT_EQ(read->codes, codes.codes) << kind;
      EXPECT_EQ(read->scales, codes.scales) << kind;
      EXPECT_EQ(to_string(read->format), to_string(codes.format)) << kind;
    }
  }
}

// More than a thread takes at a time, and than is written at a time.
TEST(GgufPack, ManyRowsComeBack) {
  for (const auto& [kind, type] :
       {std::pair{"q8_0", GgufType::q8_0}, std::pair{"q4_0", GgufType::q4_0}}) {
    const Codes codes = sample_codes(1100, 1024, kind, 3);
    const std::vector<std::byte> bytes = pack(codes, type);
    const auto read = gguf_codes({"w", {1100, 1024}, static_cast<uint32_t>(type), bytes});
    ASSERT_TRUE(read.has_value()) << kind;
    EXPECT_EQ(read->codes, codes.codes) << kind;
    EXPECT_EQ(read->scales, codes.scales) << kind;
  }
}

TEST(GgufPack, NibbleOrder) {
  Codes codes = sample_codes(1, 32, "q4_0", 1);
  for (size_t i = 0; i < 32; ++i)
    codes.codes[i] = static_cast<int8_t>(static_cast<int>(i % 16) - 8);
  codes.scales[0] = 1.0f;  // 0x3c00
  const auto bytes = pack(codes, GgufType::q4_0);
  ASSERT_EQ(bytes.size(), 18u);
  EXPECT_EQ(bytes[0], std::byte{0x00});
  EXPECT_EQ(bytes[1], std::byte{0x3c});
  for (unsigned j = 0; j < 16; ++j) EXPECT_EQ(bytes[2 + j], std::byte(j | (j << 4)));
}

TEST(GgufPack, WideGroupsRepeatTheirScale) {
  Codes row = sample_codes(2, 64, "q4_0", 3);
  row.format.group = 0;
  row.scales = {0.25f, -0.5f};
  Codes narrow = row;
  narrow.format.group = 32;
  narrow.scales = {0.25f, 0.25f, -0.5f, -0.5f};
  EXPECT_EQ(pack(row, GgufType::q4_0), pack(narrow, GgufType::q4_0));
  Codes tensor = row;
  tensor.format.group = -1;
  tensor.scales = {0.25f};
  narrow.scales = {0.25f, 0.25f, 0.25f, 0.25f};
  EXPECT_EQ(pack(tensor, GgufType::q4_0), pack(narrow, GgufType::q4_0));
}

TEST(GgufPack, ScalesThatTheTypeCannotHoldAreRefused) {
  Codes codes = sample_codes(1, 32, "q4_0", 1);
  codes.format.scale_type = ScaleType::bf16;
  codes.scales[0] = 0x1p-30f;
  EXPECT_THROW(pack(codes, GgufType::q4_0), Error);
  codes.scales[0] = 0x1p-10f;
  EXPECT_NO_THROW(pack(codes, GgufType::q4_0));
  Codes half = sample_codes(1, 32, "q4_1", 1);
  half.scales[0] = 8192.0f;
  EXPECT_NO_THROW(pack(half, GgufType::q4_1));
  half.scales[0] = 8704.0f + 128.0f;  // 7.5 times it is beyond fp16
  EXPECT_THROW(pack(half, GgufType::q4_1), Error);
}

}  // namespace
}  // namespace terse
