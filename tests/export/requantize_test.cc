// --requantize against the converters' formulas, written out here; tests/engines/converter_test.py
// has the converters themselves.
#include "export/requantize.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "export/file_reader.h"
#include "export/formats.h"
#include "export/import.h"
#include "export/post_training.h"
#include "tests/export/coded_artifact.h"
#include "tests/export/test_files.h"

namespace terse {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const char* const kUp = "model.layers.0.mlp.up_proj.weight";      // 96 x 64
const char* const kDown = "model.layers.1.mlp.down_proj.weight";  // 64 x 96

const FormatRow& row_of(const std::string& name) {
  return format_row(resolve_format(name));
}

std::string refusal(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage) << e.what();
    return e.what();
  }
  return "";
}

std::string refusal(const Artifact& artifact, const std::string& format) {
  return refusal([&] { check_export(resolve_format(format), artifact); });
}

float largest_of(const float* z, int64_t n) {
  float most = 0;
  for (int64_t i = 0; i < n; ++i) most = std::max(most, std::abs(z[i]));
  return most;
}

// One group: its scale and its codes.
using Formula = std::function<float(const float* z, int64_t n, std::vector<int>& codes)>;

// compressed-tensors' calculate_qparams and quantize, symmetric, with the scale stored in bf16.
Formula compressed_tensors_formula(int bits) {
  return [bits](const float* z, int64_t n, std::vector<int>& codes) {
    const float range = static_cast<float>((1 << bits) - 1);
    const float scale = bf16_to_float(bf16_from_float(largest_of(z, n) / (range / 2)));
    for (int64_t i = 0; i < n; ++i) {
      const float code = std::nearbyint(z[i] / scale);
      const int half = 1 << (bits - 1);
      codes.push_back(std::clamp(static_cast<int>(code), -half, half - 1));
    }
    return scale;
  };
}

// ONNX Runtime's symmetric blocks of MatMulNBits.
Formula matmul_formula(int bits) {
  return [bits](const float* z, int64_t n, std::vector<int>& codes) {
    const int half = 1 << (bits - 1);
    float low = 0, high = 0;
    for (int64_t i = 0; i < n; ++i) low = std::min(low, z[i]), high = std::max(high, z[i]);
    const float scale = (high > -low ? high : low) / static_cast<float>(-half);
    const float inverse = 1.0f / scale;
    for (int64_t i = 0; i < n; ++i) {
      const float number = std::round(z[i] * inverse + static_cast<float>(half));
      codes.push_back(std::clamp(static_cast<int>(number), 0, 2 * half - 1) - half);
    }
    return scale;
  };
}

// ONNX Runtime's symmetric int8 weights a row.
float qdq_formula(const float* z, int64_t n, std::vector<int>& codes) {
  const float scale = largest_of(z, n) / 127.0f;
  for (int64_t i = 0; i < n; ++i) codes.push_back(static_cast<int>(std::nearbyint(z[i] / scale)));
  return scale;
}

void expect_formula(const ArtifactWeight& weight, const std::vector<float>& values, int64_t group,
                    const Formula& formula) {
  const Codes codes = weight.codes();
  ASSERT_EQ(codes.format.group, group) << weight.name;
  const int64_t n = group == 0 ? codes.columns : group;
  std::vector<int> expected;
  for (int64_t i = 0; i < codes.rows * codes.columns; i += n)
    ASSERT_EQ(formula(values.data() + i, n, expected), codes.scales[static_cast<size_t>(i / n)])
        << weight.name << " group " << i / n;
  ASSERT_EQ(std::vector<int>(codes.codes.begin(), codes.codes.end()), expected) << weight.name;
}

struct Case {
  std::string format;
  int64_t up, down;  // columns a scale of 64 and of 96
  Formula formula;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (int bits = 2; bits <= 8; ++bits)
    all.push_back(
        {fmt::format("compressed-tensors:w{}a16", bits), 64, 32, compressed_tensors_formula(bits)});
  all.push_back({"compressed-tensors:w4a8", 64, 32, compressed_tensors_formula(4)});
  all.push_back({"compressed-tensors:w4a4", 64, 32, compressed_tensors_formula(4)});
  all.push_back({"compressed-tensors:w8a8", 0, 0, compressed_tensors_formula(8)});
  all.push_back({"onnx:int2", 32, 32, matmul_formula(2)});
  all.push_back({"onnx:int4", 32, 32, matmul_formula(4)});
  all.push_back({"onnx:int8", 0, 0, qdq_formula});
  return all;
}

class RequantizeTo : public ::testing::TestWithParam<Case> {};

// Dense weights, and codes that the format has no place for.
TEST_P(RequantizeTo, TheConvertersFormula) {
  const Case& c = GetParam();
  CodeFormat odd = half_int_format(8);  // nine bits when doubled
  for (const Artifact& artifact : {sample_artifact({.weights = "f32"}), coded_artifact(odd)}) {
    const Artifact changed = requantized(artifact, row_of(c.format));
    for (const auto& [name, group] : {std::pair{kUp, c.up}, {kDown, c.down}})
      expect_formula(changed.weight(name), effective_values(artifact.weight(name)), group,
                     c.formula);
    EXPECT_FALSE(changed.weight("lm_head.weight").compressed());
    const TestFolder folder;
    export_artifact(FileSystem::real(), changed, resolve_format(c.format), folder / "out");
    EXPECT_THAT(verify_file(folder / "out", changed).different, IsEmpty());
    const Metadata said = reader_of(folder / "out").metadata(folder / "out");
    EXPECT_EQ(requantized_as(said), c.format);
    EXPECT_THAT(said.at("layers"), HasSubstr(to_string(*changed.weight(kUp).format)));
    const std::string text = refusal(artifact, c.format);
    EXPECT_THAT(text, AllOf(HasSubstr("--requantize"), HasSubstr("nearest exact format: ")));
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, RequantizeTo, ::testing::ValuesIn(cases()), [](const auto& test) {
  std::string name = test.param.format;
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
});

// Without a type codes that fit stay, and others become 8 bits.
TEST(Requantize, WithoutATypeOnlyWhatDoesNotFit) {
  const Artifact artifact = coded_artifact([](const std::string& name) -> CodedLayer {
    if (name == kUp) return {half_int_format(8)};
    return {int_format(3, 32)};
  });
  Artifact rotated = artifact;
  for (ArtifactWeight& weight : rotated.weights)
    if (weight.name == kUp) weight.format->hadamard = 32;
  const auto whole = [](const Codes& codes) { return std::pair{codes.codes, codes.scales}; };
  for (const auto& [format, given, bits] :
       {std::tuple{"compressed-tensors", artifact, 8}, {"onnx", rotated, 8}}) {
    const Artifact changed = requantized(given, row_of(format));
    EXPECT_EQ(changed.weight(kUp).format->bits, bits) << format;
    EXPECT_EQ(changed.weight(kUp).format->offset, 0.0f);
    EXPECT_EQ(whole(changed.weight(kDown).codes()), whole(given.weight(kDown).codes())) << format;
    EXPECT_EQ(requantized_as(changed.metadata), format);
    EXPECT_NO_THROW(check_export(resolve_format(format), changed));
  }
  expect_formula(requantized(artifact, row_of("compressed-tensors")).weight(kUp),
                 effective_values(artifact.weight(kUp)), 64, compressed_tensors_formula(8));
}

// ONNX Runtime takes the negative one of two values of largest magnitude; a block of zeros decodes
// to zeros.
TEST(Requantize, MatMulBlocksOfTiesAndZeros) {
  std::vector<float> values(64, 0.0f);
  values[3] = 1.5f;
  values[9] = -1.5f;
  values[10] = 0.09375f;  // half a code
  const Codes codes =
      rounded_codes(post_training("onnx:matmul4", "w", 64), "w", 1, 64, std::span(values));
  EXPECT_EQ(codes.scales[0], 1.5f / 8);
  EXPECT_EQ(codes.codes[3], 7);
  EXPECT_EQ(codes.codes[9], -8);
  EXPECT_EQ(codes.codes[10], 1);  // ties go up
  std::vector<float> decoded(64);
  codes.decode(decoded.data());
  EXPECT_EQ(largest_of(decoded.data() + 32, 32), 0.0f);
}

TEST(Requantize, WhatIsNotFiniteIsNamed) {
  for (const char* rule :
       {"onnx:matmul4", "onnx:int8", "compressed-tensors:w4a16", "compressed-tensors:nvfp4a16"})
    for (const float bad : {std::nanf(""), INFINITY}) {
      std::vector<float> values(128, 1.0f);
      values[7] = bad;
      EXPECT_THROW(rounded_codes(post_training(rule, "w", 128), "w", 1, 128, std::span(values)),
                   Error)
          << rule << " " << bad;
    }
}

// The type decides about inputs: codes that fit stay, and only what becomes of the input changes.
TEST(Requantize, InputsAreWhatTheTypeSays) {
  const Artifact w4a4 = coded_artifact(int_format(4), InputFormat{.bits = 4});
  const auto input = [&](const Artifact& artifact, const std::string& format) {
    const Artifact changed = requantized(artifact, row_of(format));
    EXPECT_EQ(changed.weight(kUp).codes().codes, artifact.weight(kUp).codes().codes) << format;
    const TestFolder folder;
    export_artifact(FileSystem::real(), changed, resolve_format(format), folder / "out");
    EXPECT_THAT(verify_file(folder / "out", changed).different, IsEmpty());
    const Artifact read = read_artifact(folder / "out");
    EXPECT_EQ(read.weight(kUp).input, changed.weight(kUp).input);
    EXPECT_EQ(requantized_as(changed.metadata),
              artifact.weight(kUp).input == changed.weight(kUp).input ? "" : format);
    return changed.weight(kUp).input;
  };
  EXPECT_EQ(input(w4a4, "compressed-tensors:w4a16"), std::nullopt);
  EXPECT_EQ(input(w4a4, "compressed-tensors:w4a8"), InputFormat{.bits = 8});
  EXPECT_EQ(input(w4a4, "compressed-tensors:w4a4"), InputFormat{.bits = 4});
  const InputFormat learned{.bits = 8, .scale = 0.03125f};
  EXPECT_EQ(input(coded_artifact(int_format(8), learned), "compressed-tensors:w8a8"), learned);
  EXPECT_EQ(input(coded_artifact(nvfp4_format()), "compressed-tensors:nvfp4"),
            nvfp4_input(kInputGlobal));
  // Eight bits where four were: the learned step of the input stays.
  const Artifact wider =
      requantized(coded_artifact(int_format(4), learned), row_of("compressed-tensors:w8a8"));
  EXPECT_EQ(wider.weight(kUp).input, learned);
}

// bf16 scales fit GGUF as long as each is an fp16 number: the weight where one is not is encoded
// anew, the others stay.
TEST(Requantize, ScalesThatTheTypeDoesNotHoldAreReasonEnough) {
  const CodeFormat format = int_format(4, 32, ScaleType::bf16);
  const Artifact fine = coded_artifact(format);
  for (const char* type : {"gguf:q4_0", "gguf"}) {
    const FormatRow& row = row_of(type);
    EXPECT_EQ(requantized_as(requantized(fine, row).metadata), "") << type;
    Artifact artifact = fine;
    auto codes = std::make_shared<Codes>(artifact.weight(kUp).codes());
    codes->scales[3] = 0x1p-30f;
    for (ArtifactWeight& weight : artifact.weights)
      if (weight.name == kUp) weight = compressed_weight(kUp, codes);
    const TestFolder folder;
    std::string message;
    try {
      export_artifact(FileSystem::real(), artifact, resolve_format(type), folder / "a");
    } catch (const Error& e) {
      message = e.what();
    }
    EXPECT_THAT(message, AllOf(HasSubstr(kUp), HasSubstr("not exact in the f16 of"),
                               HasSubstr("--requantize")));
    const Artifact changed = requantized(artifact, row);
    EXPECT_EQ(requantized_as(changed.metadata), type);
    EXPECT_NE(changed.weight(kUp).codes().scales, codes->scales);
    EXPECT_EQ(changed.weight(kDown).codes().codes, fine.weight(kDown).codes().codes);
    export_artifact(FileSystem::real(), changed, resolve_format(type), folder / "b");
    EXPECT_THAT(verify_file(folder / "b", changed).different, IsEmpty());
  }
}

// As the rotation's matrix has it, (-1)^popcount(i & j) / sqrt(block): each value within half a
// step.
TEST(Requantize, RotatesForTheReaderThatRotates) {
  const Artifact artifact = sample_artifact({.weights = "f32"});
  const Artifact changed = requantized(artifact, row_of("compressed-tensors:w4a4-hadamard"));
  const std::vector<float> plain = effective_values(artifact.weight(kUp));
  const Codes codes = changed.weight(kUp).codes();
  EXPECT_EQ(changed.weight(kUp).input, InputFormat{.bits = 4});
  ASSERT_EQ(codes.format.hadamard, 64);
  std::vector<float> decoded(plain.size());
  codes.decode(decoded.data());
  for (int64_t r = 0; r < codes.rows; ++r)
    for (int64_t c = 0; c < 64; ++c) {
      double sum = 0;
      for (int64_t i = 0; i < 64; ++i)
        sum += (std::popcount(static_cast<uint64_t>(i & c)) % 2 == 0 ? 1.0 : -1.0) *
               double{plain[static_cast<size_t>(r * 64 + i)]} / 8;
      // The largest value may lie half a step beyond the last code; bf16 moves it by 7.5 / 2^8
      // steps more.
      const double step = codes.scale_at(r, c);
      ASSERT_NEAR(decoded[static_cast<size_t>(r * 64 + c)], sum, step * (0.5 + 7.5 / 256 + 1e-4));
    }
}

// Of values as small as a network's: blocks of e4m3 scales need the second one.
TEST(Requantize, Nvfp4HasItsSecondScale) {
  std::vector<float> values(256);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = 1e-4f * std::sin(static_cast<float>(i * i));
  const Codes codes = rounded_codes(post_training("gguf:nvfp4", "w", 64), "w", 4, 64, values);
  std::vector<float> decoded(values.size());
  codes.decode(decoded.data());
  for (size_t i = 0; i < values.size(); ++i) {
    // The widest gap of E2M1 is 2 of 6; scales are rounded by 1/16 at most.
    const float most = largest_of(values.data() + i / 16 * 16, 16);
    EXPECT_NEAR(decoded[i], values[i], most / 6 * 17 / 16) << i;
  }
}

// Layers that training left dense stay so beside codes.
TEST(Requantize, IgnoredLayersStayDense) {
  const Artifact artifact = coded_artifact([](const std::string& name) -> CodedLayer {
    if (name == kDown) return {};
    return {int_format(4), InputFormat{.bits = 4}};
  });
  for (const char* format : {"compressed-tensors:w8a16", "onnx:int2", "gguf:q8_0"}) {
    const Artifact changed = requantized(artifact, row_of(format));
    EXPECT_FALSE(changed.weight(kDown).compressed()) << format;
    EXPECT_TRUE(changed.weight(kUp).compressed()) << format;
    EXPECT_NO_THROW(check_export(resolve_format(format), changed)) << format;
  }
}

// N:M is a mask, which no rounding makes.
TEST(Requantize, NoMaskIsMadeUp) {
  for (const Artifact& artifact :
       {sample_artifact({.weights = "f32"}), coded_artifact(int_format(4))})
    EXPECT_THAT(refusal(artifact, "nm"),
                AllOf(HasSubstr("[sparsity]"), Not(HasSubstr("--requantize"))));
  EXPECT_THAT(refusal([] { requantized(coded_artifact(int_format(4)), row_of("nm")); }),
              AllOf(HasSubstr("nm has no grid"), HasSubstr("N:M mask")));
  // Where the mask is there, all is exact; what it pruned stays 0 in other formats.
  SampleOptions masked{.weights = "half_int3", .pattern = "2:4"};
  const Artifact artifact = sample_artifact(masked);
  const Artifact changed = requantized(artifact, row_of("compressed-tensors:w4a16"));
  const std::vector<float> before = effective_values(artifact.weight(kUp));
  const std::vector<float> after = effective_values(changed.weight(kUp));
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(before[i] != 0 || after[i] == 0) << i;
}

TEST(Requantize, RefusalsNameTheNearestExactFormat) {
  const Artifact w4a4 = coded_artifact(int_format(4), InputFormat{.bits = 4});
  EXPECT_THAT(refusal(w4a4, "compressed-tensors:w8a8"),
              HasSubstr("nearest exact format: compressed-tensors:w4a4;"));
  EXPECT_THAT(refusal(coded_artifact(int_format(8)), "gguf:q4_0"),
              HasSubstr("nearest exact format: gguf:"));
  EXPECT_THAT(refusal(sample_artifact({.weights = "bf16"}), "gguf:q4_0"),
              AllOf(HasSubstr("nearest exact format: gguf:bf16;"), HasSubstr("--requantize")));
  // No rule: no such advice.
  EXPECT_THAT(refusal(sample_artifact({.weights = "bf16"}), "gguf:q5_0"),
              Not(HasSubstr("--requantize")));
}

TEST(Requantize, TheListSaysWhatItRoundsTo) {
  std::map<std::string, std::string> dense;
  for (const ExportRow& row : export_list()) {
    if (row.representation == "dense bf16") dense[row.format] = row.requantize;
    const bool said = row.reason.find("; --requantize: ") != std::string::npos;
    EXPECT_EQ(said, !row.requantize.empty()) << row.representation << " " << row.format;
    EXPECT_TRUE(row.requantize.empty() || row.verdict == Verdict::impossible);
  }
  EXPECT_EQ(dense.at("compressed-tensors:w4a16"), "compressed-tensors:w4a16");
  EXPECT_EQ(dense.at("compressed-tensors:nvfp4"), "compressed-tensors:nvfp4");
  EXPECT_EQ(dense.at("compressed-tensors"), "");
  EXPECT_EQ(dense.at("onnx:int4"), "onnx:matmul4");
  EXPECT_EQ(dense.at("gguf:q8_0"), "gguf:q8_0");
  EXPECT_EQ(dense.at("gguf:q5_0"), "");
  // Every rule that a row names is one.
  for (const FormatRow& row : format_rows()) {
    const bool narrow = row.requantize_as == "f32" || row.requantize_as == "f16" ||
                        row.requantize_as == "bf16" || row.requantize_as.empty();
    EXPECT_TRUE(narrow || has_post_training(row.requantize_as)) << row.format.name();
  }
}

}  // namespace
}  // namespace terse
