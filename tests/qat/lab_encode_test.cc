// `lab encode` as a function: files in, files out.
#include "trainer/lab/encode/lab_encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "export/safetensors.h"
#include "qat/codes.h"
#include "qat/targets.h"

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
