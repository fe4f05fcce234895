// `lab encode` as a function: files in, files out.
#include "trainer/lab/encode/lab_encode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "export/safetensors.h"
#include "qat/codes.h"
#include "qat/targets.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

struct Folder {
  std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / fmt::format("lab_encode_{}", getpid());
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
};

void write(const std::string& path, const std::vector<float>& values, std::vector<int64_t> shape) {
  const TensorView view{DType::f32, std::move(shape),
                        bytes_of(values.data(), static_cast<int64_t>(values.size()))};
  write_safetensors(FileSystem::real(), path, {{"w", view}});
}

LabEncodeOptions options(const Folder& folder, const std::string& target) {
  LabEncodeOptions o;
  o.qat.target = target;
  o.in = folder / "in";
  o.out = folder / "out";
  return o;
}

TEST(LabEncode, WritesWhatTheQuantizerDid) {
  const Folder folder;
  std::vector<float> values(2 * 3 * 128);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = std::sin(1.3f * static_cast<float>(i)) * (i % 97 == 0 ? 4.0f : 1.0f);
  write(folder / "in", values, {2, 3, 128});
  for (const char* target : {"gguf:q4_0", "gguf:q8_0", "none"}) {
    lab_encode(options(folder, target));
    const SafetensorsFile file(folder / "out");
    const CodeFormat format = parse_code_format(file.metadata().at("format"));
    const int64_t groups = format.group == 0 ? 1 : 128 / format.group;
    const auto codes = file.require("w.codes", DType::i8, {2, 3, 128}).as<int8_t>();
    const auto scales = file.require("w.scales", DType::f32, {6, groups}).as<float>();
    const auto decoded = file.require("w.decoded", DType::f32, {2, 3, 128}).as<float>();
    const auto trust = file.require("w.trust", DType::u8, {2, 3, 128}).as<uint8_t>();
    const float offset = std::stof(file.metadata().at("offset"));
    EXPECT_EQ(offset, std::string(target) == "none" ? 0.5f : 0.0f);
    EXPECT_EQ(file.metadata().at("hadamard"), std::string(target) == "none" ? "128" : "0");
    int64_t trusted = 0;
    for (size_t i = 0; i < decoded.size(); ++i) {
      const size_t group = i * static_cast<size_t>(groups) / 128;
      EXPECT_EQ(decoded[i], (static_cast<float>(codes[i]) + offset) * scales[group]);
      if (format.hadamard == 0 && trust[i]) {
        EXPECT_LE(std::fabs(decoded[i] - values[i]), std::fabs(scales[group]) * 0.500001f);
      }
      trusted += trust[i];
    }
    EXPECT_GT(trusted, 700);
  }
}

// Every target, read back by the header's rule alone: four bits of E2M1, two levels of scales.
TEST(LabEncode, EveryTargetDecodesByItsRule) {
  const Folder folder;
  std::vector<float> values(3 * 256);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = 0.3f * std::sin(1.3f * static_cast<float>(i));
  write(folder / "in", values, {3, 256});
  for (const Target& target : targets()) {
    if (!target.quantizes) continue;
    lab_encode(options(folder, target.name));
    const SafetensorsFile file(folder / "out");
    const CodeFormat format = parse_code_format(file.metadata().at("format"));
    const auto groups = static_cast<size_t>(groups_of(format, 256));
    const auto codes = file.require("w.codes", DType::i8, {3, 256}).as<int8_t>();
    const auto scales =
        file.require("w.scales", DType::f32, {3, static_cast<int64_t>(groups)}).as<float>();
    const auto decoded = file.require("w.decoded", DType::f32, {3, 256}).as<float>();
    const bool second = format.scale_type == ScaleType::e4m3;
    const float scale2 = second ? file.require("w.scale2", DType::f32, {1}).as<float>()[0] : 1.0f;
    for (size_t i = 0; i < decoded.size(); ++i) {
      constexpr float kSizes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
      float value = static_cast<float>(codes[i]) + format.offset;
      if (format.grid == "fp4") {
        ASSERT_GE(codes[i], 0);
        value = kSizes[codes[i] & 7] * (codes[i] >> 3 ? -1.0f : 1.0f);
      }
      ASSERT_EQ(decoded[i], value * scales[i * groups / 256] * scale2) << target.name;
    }
  }
}

// E2M1 out of its four bits.
float e2m1(int8_t bits) {
  constexpr float kSizes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  return kSizes[bits & 7] * (bits >> 3 ? -1.0f : 1.0f);
}

std::pair<double, double> levels_of(const std::string& grid, int bits) {
  const double half = 1 << (bits - 1);
  if (grid == "half_int") return {-half + 0.5, half - 0.5};
  if (grid == "int_signed") return {-half, half - 1};
  if (grid == "int_symmetric") return {1 - half, half - 1};
  return grid == "ternary" ? std::pair{-1.0, 1.0} : std::pair{-6.0, 6.0};
}

// The distance of z from the nearest level, tried one by one.
double nearest(std::pair<double, double> levels, bool fp4, double z, double step) {
  double least = INFINITY;
  if (fp4)
    for (int8_t bits = 0; bits < 16; ++bits)
      least = std::min(least, std::fabs(z - double{e2m1(bits)} * step));
  else
    for (int i = 0; levels.first + i <= levels.second; ++i)
      least = std::min(least, std::fabs(z - (levels.first + i) * step));
  return least;
}

struct Kind {
  const char* grid;
  int bits;
  const char* estimator;
};

// What the estimator lets pass, by the formulas of qat/estimator.h; z, the decoded value and the
// step in fp64. `levels`: the least and the largest.
bool passes(const std::string& estimator, double z, double decoded, double step,
            std::pair<double, double> levels, bool fp4) {
  const double reach = std::max(-levels.first, levels.second);
  if (estimator == "clip(0.7)") return std::fabs(z) <= 0.7 * reach * step;
  if (estimator == "trust(0.5)") {
    const double widest = fp4 ? 2 * step : step;
    return std::fabs(decoded - z) <= 0.5 * widest / 2 * (1 + 1e-6);
  }
  if (estimator == "lsq") return levels.first <= z / step && z / step <= levels.second;
  return true;
}

class LabEncodes : public ::testing::TestWithParam<Kind> {};

TEST_P(LabEncodes, ValuesAndTrustByTheirFormulas) {
  const Folder folder;
  const auto& [grid, bits, estimator] = GetParam();
  const bool learned = std::string(estimator) == "lsq", fp4 = std::string(grid) == "fp4";
  constexpr int64_t kRows = 4, kColumns = 96, kGroup = 32;
  std::vector<float> values(kRows * kColumns);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = std::sin(1.3f * static_cast<float>(i)) * (i % 11 == 0 ? 2.5f : 0.8f);
  values[5] = 60;  // beyond what a learned step of 8 bits reaches
  values[50] = -5;
  write(folder / "in", values, {kRows, kColumns});
  LabEncodeOptions o = options(folder, "none");
  o.qat.grid = grid;
  o.qat.weight_bits = bits;
  o.qat.estimator = estimator;
  o.qat.group = kGroup;
  o.qat.hadamard = 0;
  lab_encode(o);

  const SafetensorsFile file(folder / "out");
  EXPECT_EQ(file.metadata().at("estimator"), estimator);
  const CodeFormat format = parse_code_format(file.metadata().at("format"));
  ASSERT_EQ(format.group, kGroup);
  const auto codes = file.require("w.codes", DType::i8, {kRows, kColumns}).as<int8_t>();
  const auto scales = file.require("w.scales", DType::f32, {kRows, kColumns / kGroup}).as<float>();
  const auto decoded = file.require("w.decoded", DType::f32, {kRows, kColumns}).as<float>();
  const auto trust = file.require("w.trust", DType::u8, {kRows, kColumns}).as<uint8_t>();
  const float offset = std::string(grid) == "half_int" ? 0.5f : 0.0f;
  const std::pair<double, double> levels = levels_of(grid, bits);
  size_t passed = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t group = i / kGroup;
    const float level = fp4 ? e2m1(codes[i]) : static_cast<float>(codes[i]) + offset;
    ASSERT_LE(levels.first, level);
    ASSERT_GE(levels.second, level);
    ASSERT_EQ(decoded[i], level * scales[group]) << i;
    // The nearest level, up to rounding to fp32: of the scale's inverse and the product with it
    // near a tie, and of the decoded value.
    const double rounding = (std::fabs(values[i]) + std::fabs(decoded[i])) * 0x1p-22;
    ASSERT_LE(std::fabs(double{values[i]} - decoded[i]),
              nearest(levels, fp4, values[i], scales[group]) + rounding)
        << i;
    const bool expected = passes(estimator, values[i], decoded[i], scales[group], levels, fp4);
    ASSERT_EQ(trust[i] != 0, expected) << i << " " << values[i] << " " << decoded[i];
    passed += trust[i];
  }
  if (std::string(estimator) == "straight_through") {
    EXPECT_EQ(passed, values.size());
  } else {  // some pass, some do not
    EXPECT_GT(passed, values.size() / 8);
    EXPECT_LT(passed, values.size());
  }
  for (size_t g = 0; learned && g < scales.size(); ++g) {
    double sum = 0;  // s0 of LSQ's paper, 2 mean |z| / sqrt(Qp)
    for (size_t i = g * kGroup; i < (g + 1) * kGroup; ++i) sum += std::fabs(values[i]);
    const double qp = std::max<double>((1 << (bits - 1)) - 1, 1);
    // ln s is learned, in fp32: a rounding of a number below 4, and one of s.
    EXPECT_NEAR(scales[g] / (2 * sum / kGroup / std::sqrt(qp)), 1.0, 4e-7);
  }
}

std::vector<Kind> every_kind() {
  std::vector<Kind> all;
  for (const auto& [grid, bits] : {std::pair{"half_int", 3},
                                   {"half_int", 1},
                                   {"int_signed", 4},
                                   {"int_symmetric", 8},
                                   {"ternary", 2},
                                   {"fp4", 4}})
    for (const char* estimator : {"trust(0.5)", "clip(0.7)", "straight_through", "lsq"})
      // Levels that are not evenly spaced have no step to learn.
      if (std::string(grid) != "fp4" || std::string(estimator) != "lsq")
        all.push_back({grid, bits, estimator});
  return all;
}

INSTANTIATE_TEST_SUITE_P(EveryGridAndEstimator, LabEncodes, ::testing::ValuesIn(every_kind()),
                         [](const auto& test) {
                           const Kind& k = test.param;
                           return test_name(fmt::format("{} {} {}", k.grid, k.bits, k.estimator));
                         });

TEST(LabEncode, BitnetHasOneScale) {
  const Folder folder;
  write(folder / "in", {3.0f, -1.0f, 0.25f, 0.75f}, {2, 2});
  LabEncodeOptions o = options(folder, "none");
  o.qat.estimator = "bitnet";
  lab_encode(o);
  const SafetensorsFile file(folder / "out");
  EXPECT_EQ(file.require("w.scales", DType::f32, {1, 1}).as<float>()[0], 1.25f);
  const auto codes = file.require("w.codes", DType::i8, {2, 2}).as<int8_t>();
  EXPECT_EQ(std::vector<int>(codes.begin(), codes.end()), (std::vector<int>{1, -1, 0, 1}));
}

TEST(LabEncode, NamesWhatIsWrong) {
  const Folder folder;
  write(folder / "in", std::vector<float>(96, 1.0f), {1, 96});
  EXPECT_THROW(lab_encode(options(folder, "gguf:q1_0")), Error);  // 128 does not divide 96
  EXPECT_THROW(lab_encode(options(folder, "gguf:f16")), Error);
  EXPECT_THROW(lab_encode(options(folder, "gguf:q3")), Error);
  write(folder / "in", std::vector<float>(64, NAN), {1, 64});
  try {
    lab_encode(options(folder, "gguf:q4_0"));
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::non_finite);
  }
}

}  // namespace
}  // namespace terse
