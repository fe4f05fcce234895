// `lab encode` as a function: files in, files out.
#include "trainer/lab/encode/lab_encode.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "export/safetensors.h"
#include "qat/codes.h"

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

TEST(LabEncode, NamesWhatIsWrong) {
  const Folder folder;
  write(folder / "in", std::vector<float>(96, 1.0f), {1, 96});
  EXPECT_THROW(lab_encode(options(folder, "none")), Error);  // 128 does not divide 96
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
