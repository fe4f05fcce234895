// Codes as compressed-tensors 0.20.0 packs them: golden/make_ct_packs.py made the file with it.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "export/ct_pack.h"
#include "export/ct_unpack.h"
#include "export/safetensors.h"
#include "tests/export/coded_artifact.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

const SafetensorsFile& golden() {
  static const SafetensorsFile file(TERSE_SOURCE_DIR "/tests/export/golden/ct_packs.safetensors");
  return file;
}

std::vector<std::byte> bytes_at(const std::string& name) {
  const auto data = golden().require(name).data;
  return {data.begin(), data.end()};
}

const int8_t* codes_at(const std::string& name) {
  return golden().require(name).as<int8_t>().data();
}

TEST(CtPack, EveryWidthIsByteEqualToPackToInt32) {
  for (int bits = 1; bits <= 8; ++bits)
    for (const int64_t columns : {96, 77}) {
      const std::string name = fmt::format("int{}_{}", bits, columns);
      std::vector<std::byte> bytes;
      ct_pack_rows(codes_at(name + ".codes"), 5, columns, bits, bytes);
      EXPECT_EQ(bytes, bytes_at(name + ".packed")) << name;
    }
}

TEST(CtPack, ReaderAgreesWithUnpackFromInt32) {
  for (int bits = 1; bits <= 8; ++bits)
    for (const int64_t columns : {96, 77}) {
      const std::string name = fmt::format("int{}_{}", bits, columns);
      const auto words = golden().require(name + ".packed").as<uint32_t>();
      std::vector<int8_t> codes(static_cast<size_t>(5 * columns));
      for (int64_t r = 0; r < 5; ++r)
        ct_unpack_row(words.data() + r * ct_words(columns, bits), columns, bits,
                      codes.data() + r * columns);
      EXPECT_EQ(std::memcmp(codes.data(), codes_at(name + ".codes"), codes.size()), 0) << name;
    }
}

// By the definition, a bit at a time, for every length of the last word.
TEST(CtPack, EveryLengthIsTheBitStream) {
  std::mt19937_64 random(1);
  for (int bits = 1; bits <= 8; ++bits)
    for (int64_t columns = 0; columns <= 70; ++columns) {
      const Codes codes = random_codes(int_format(bits, 0), 2, columns, random());
      std::vector<std::byte> bytes = {std::byte{0xee}};  // appended behind what is there
      ct_pack_rows(codes.codes.data(), 2, columns, bits, bytes);
      const int64_t row_bytes = 4 * ct_words(columns, bits);
      ASSERT_EQ(static_cast<int64_t>(bytes.size()), 1 + 2 * row_bytes);
      std::vector<uint8_t> expected(static_cast<size_t>(2 * row_bytes));
      for (int64_t r = 0; r < 2; ++r)
        for (int64_t b = 0; b < columns * bits; ++b) {
          const int stored =
              codes.codes[static_cast<size_t>(r * columns + b / bits)] + (1 << (bits - 1));
          if ((stored >> (b % bits) & 1) != 0)
            expected[static_cast<size_t>(r * row_bytes + b / 8)] |=
                static_cast<uint8_t>(1u << (b % 8));
        }
      ASSERT_TRUE(std::equal(expected.begin(), expected.end(),
                             reinterpret_cast<const uint8_t*>(bytes.data()) + 1))
          << bits << " bits, " << columns << " columns";
      std::vector<uint32_t> words(static_cast<size_t>(ct_words(columns, bits)));
      if (!words.empty()) std::memcpy(words.data(), bytes.data() + 1, 4 * words.size());
      std::vector<int8_t> back(static_cast<size_t>(columns));
      ct_unpack_row(words.data(), columns, bits, back.data());
      ASSERT_TRUE(std::equal(back.begin(), back.end(), codes.codes.begin()));
    }
}

// Enough rows for several threads: the same words as one at a time.
TEST(CtPack, ManyRowsAreThoseOfEach) {
  const Codes codes = random_codes(int_format(3, 0), 300, 257, 2);
  std::vector<std::byte> all, each;
  ct_pack_rows(codes.codes.data(), 300, 257, 3, all);
  for (int64_t r = 0; r < 300; ++r) ct_pack_rows(codes.codes.data() + r * 257, 1, 257, 3, each);
  EXPECT_EQ(all, each);
}

class CtFp4 : public ::testing::TestWithParam<const char*> {};

TEST_P(CtFp4, IsByteEqualToTheLibrary) {
  const std::string name = GetParam();
  std::vector<std::byte> bytes;
  ct_pack_fp4(codes_at(name + ".codes"), 4, 64, bytes);
  EXPECT_EQ(bytes, bytes_at(name + ".packed"));
  std::vector<int8_t> codes(4 * 64);
  ct_unpack_fp4(golden().require(name + ".packed").as<uint8_t>().data(), 4 * 64, codes.data());
  EXPECT_EQ(std::memcmp(codes.data(), codes_at(name + ".codes"), codes.size()), 0);
  const auto scales = golden().require(name + ".scales").as<float>();
  const auto stored = golden().require(name + ".scale_bytes").as<uint8_t>();
  for (size_t i = 0; i < scales.size(); ++i) {
    const bool nv = name == "nvfp4";
    EXPECT_EQ(nv ? ct_e4m3(scales[i]) : ct_e8m0(scales[i]), std::byte{stored[i]}) << scales[i];
    EXPECT_EQ(nv ? ct_scale_of_e4m3(stored[i]) : ct_scale_of_e8m0(stored[i]), scales[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Types, CtFp4, ::testing::Values("nvfp4", "mxfp4"),
                         [](const auto& test) { return test_name(test.param); });

TEST(CtPack, EveryScaleByteSurvives) {
  for (int byte = 0; byte < 256; ++byte) {
    const auto stored = static_cast<uint8_t>(byte);
    const float e4m3 = ct_scale_of_e4m3(stored);
    EXPECT_EQ(std::isnan(e4m3), (byte & 0x7f) == 0x7f);
    if (byte < 0x7f) {
      EXPECT_EQ(ct_e4m3(e4m3), std::byte{stored});
      EXPECT_EQ(ct_scale_of_e4m3(stored | 0x80), -e4m3);
    }
    const float e8m0 = ct_scale_of_e8m0(stored);
    EXPECT_EQ(std::isnan(e8m0), byte == 255);
    if (byte > 0 && byte < 255) {  // 2^-127 is subnormal: no encoder stores it
      EXPECT_EQ(ct_e8m0(e8m0), std::byte{stored});
    }
  }
}

// The library's decoded values are those of Codes::decode.
TEST(CtPack, TheLibraryDecodesToTheSameBits) {
  for (const auto& [name, format] :
       {std::pair{"w4", int_format(4)}, {"nvfp4", nvfp4_format()}, {"mxfp4", mxfp4_format()}}) {
    const TensorView view = golden().require(fmt::format("{}.codes", name));
    Codes codes;
    codes.format = format;
    codes.rows = view.shape[0];
    codes.columns = view.shape[1];
    codes.codes.assign(view.as<int8_t>().begin(), view.as<int8_t>().end());
    const auto scales = golden().require(fmt::format("{}.scales", name)).as<float>();
    codes.scales.assign(scales.begin(), scales.end());
    if (format.scale_type == ScaleType::e4m3) codes.tensor_scale = 0x1p-9f;
    std::vector<float> values(codes.codes.size());
    codes.decode(values.data());
    const auto expected = golden().require(fmt::format("{}.values", name)).data;
    ASSERT_EQ(expected.size(), values.size() * sizeof(float));
    // Only a zero's sign may differ: ours is never negative.
    for (float& value : values) value += 0.0f;
    std::vector<float> theirs(values.size());
    std::memcpy(theirs.data(), expected.data(), expected.size());
    for (float& value : theirs) value += 0.0f;
    EXPECT_EQ(std::memcmp(theirs.data(), values.data(), expected.size()), 0) << name;
  }
}

}  // namespace
}  // namespace terse
