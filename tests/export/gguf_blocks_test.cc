// Blocks byte by byte against llama.cpp's gguf-py: golden/make_gguf_blocks.py made the file.
#include <gtest/gtest.h>

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

GgufTensor tensor_of(const std::string& name, uint32_t type) {
  return {name, {8, 64}, type, golden().require(name + ".blocks").data};
}

class GgufBlocks : public ::testing::TestWithParam<std::pair<const char*, uint32_t>> {};

TEST_P(GgufBlocks, DecodeAsGgufPyDoes) {
  const auto [name, type] = GetParam();
  std::vector<float> values(8 * 64);
  gguf_decode(tensor_of(name, type), values.data());
  const auto expected = golden().require(fmt::format("{}.values", name)).data;
  ASSERT_EQ(expected.size(), values.size() * sizeof(float));
  EXPECT_EQ(std::memcmp(values.data(), expected.data(), expected.size()), 0);
}

INSTANTIATE_TEST_SUITE_P(Types, GgufBlocks,
                         ::testing::Values(std::pair{"Q4_0", 2u}, std::pair{"Q8_0", 8u},
                                           std::pair{"BF16", 30u}, std::pair{"F16", 1u}),
                         [](const auto& test) { return test.param.first; });

std::vector<std::byte> pack(const Codes& codes, GgufType type) {
  std::vector<std::byte> bytes;
  gguf_pack_codes(codes, gguf_packing(type), "w", nullptr,
                  [&](auto piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
  return bytes;
}

// gguf-py's blocks -> Codes -> our packer -> the same bytes; and Codes::decode gives what gguf-py
// decodes, which is promise 1 in small.
void expect_same_bytes(const char* name, GgufType type) {
  const GgufTensor tensor = tensor_of(name, static_cast<uint32_t>(type));
  const Codes codes = *gguf_codes(tensor);
  const std::vector<std::byte> bytes = pack(codes, type);
  EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), tensor.data.begin(), tensor.data.end()));
  std::vector<float> values(8 * 64);
  codes.decode(values.data());
  const auto expected = golden().require(fmt::format("{}.values", name)).data;
  EXPECT_EQ(std::memcmp(values.data(), expected.data(), expected.size()), 0);
}

TEST(GgufPack, Q4_0IsByteEqualToGgufPy) {
  expect_same_bytes("Q4_0", GgufType::q4_0);
}
TEST(GgufPack, Q8_0IsByteEqualToGgufPy) {
  expect_same_bytes("Q8_0", GgufType::q8_0);
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
  Codes wide = sample_codes(2, 64, "q4_0", 3);
  wide.format.group = 0;
  wide.scales = {0.25f, -0.5f};
  Codes narrow = wide;
  narrow.format.group = 32;
  narrow.scales = {0.25f, 0.25f, -0.5f, -0.5f};
  EXPECT_EQ(pack(wide, GgufType::q4_0), pack(narrow, GgufType::q4_0));
}

TEST(GgufPack, ScalesThatFp16CannotHoldAreRefused) {
  Codes codes = sample_codes(1, 32, "q4_0", 1);
  codes.format.scale_type = ScaleType::bf16;
  codes.scales[0] = 0x1p-30f;
  EXPECT_THROW(pack(codes, GgufType::q4_0), Error);
  codes.scales[0] = 0x1p-10f;
  EXPECT_NO_THROW(pack(codes, GgufType::q4_0));
}

}  // namespace
}  // namespace terse
