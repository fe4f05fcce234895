// Files of every GGUF type with one byte flipped, and exports that are killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "export/formats.h"
#include "export/gguf.h"
#include "export/gguf_pack.h"
#include "export/import.h"
#include "tests/export/sample_artifact.h"
#include "tests/export/test_files.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

using ::testing::IsEmpty;

// A small file with one matrix of this type, and the scale of the tensor where the type has one.
std::string file_of(const GgufPacking& packing, const std::string& path) {
  const Codes codes = sample_codes(2, 256, packing.name, 5);
  const GgufItem matrix = {"w.weight", {2, 256}, packing.type, [&](const ByteSink& sink) {
                             gguf_pack_codes(codes, packing, "w", nullptr, sink);
                           }};
  const GgufItem scale = {"w.scale", {1}, GgufType::f32, [&](const ByteSink& sink) {
                            sink(bytes_of(&codes.tensor_scale, 1));
                          }};
  write_gguf_file(FileSystem::real(), path, {{"general.name", std::string("damage")}},
                  {matrix, scale});
  return read_text(path);
}

std::vector<float> all_values(const GgufFile& file) {
  std::vector<float> all;
  for (const GgufTensor& tensor : file.tensors()) {
    std::vector<float> values(static_cast<size_t>(tensor.numel()));
    gguf_decode(tensor, values.data());
    all.insert(all.end(), values.begin(), values.end());
  }
  return all;
}

class GgufDamage : public ::testing::TestWithParam<GgufPacking> {};

TEST_P(GgufDamage, EverySingleByteFlipIsDetectedOrHarmless) {
  const TestFolder folder;
  std::string text = file_of(GetParam(), folder / "small.gguf");
  const auto opened = [&] { return GgufFile(std::as_bytes(std::span(text)), "flipped"); };
  const std::vector<float> truth = all_values(opened());
  int detected = 0;
  for (char& byte : text) {
    const char before = byte;
    for (int bit = 0; bit < 8; ++bit) {
      byte = static_cast<char>(before ^ 1 << bit);
      try {
        const GgufFile file = opened();
        file.verify_checksums(false);
        ASSERT_EQ(all_values(file), truth) << "byte " << &byte - text.data() << " bit " << bit;
      } catch (const Error&) {
        ++detected;
      }
    }
    byte = before;
  }
  EXPECT_GT(detected, static_cast<int>(text.size()) * 4);
}

INSTANTIATE_TEST_SUITE_P(Types, GgufDamage, ::testing::ValuesIn(coded_packings()),
                         [](const auto& test) { return std::string(test.param.name); });

// Whether a child that exports was killed before its n-th call.
bool killed(const Artifact& artifact, const ExportFormat& format, const std::string& out,
            int64_t calls) {
  const pid_t child = ::fork();
  if (child == 0) {
    KilledFileSystem fs(calls);
    export_artifact(fs, artifact, format, out);
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status);
}

class KilledExport : public ::testing::TestWithParam<const char*> {};

TEST_P(KilledExport, LeavesNothingOrTheWholeFile) {
  const TestFolder folder;
  SampleOptions options;
  options.shape.layers = 1;
  options.shape.vocab = 16;
  options.tokenizer = false;
  const Artifact artifact = sample_artifact(options);
  const ExportFormat format = resolve_format(GetParam());
  const std::string out = folder / "out";
  int64_t calls = 0;
  while (killed(artifact, format, out, calls)) {
    if (FileSystem::real().exists(out)) {
      EXPECT_THAT(verify_file(out, artifact).different, IsEmpty()) << calls;
    }
    for (const std::string& name : FileSystem::real().list(folder.path())) {
      EXPECT_TRUE(name == "out" || name.find(".tmp.") != std::string::npos) << name;
      FileSystem::real().remove_all(folder / name);
    }
    ++calls;
  }
  EXPECT_GT(calls, 5);
  EXPECT_THAT(verify_file(out, artifact).different, IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Formats, KilledExport, ::testing::Values("gguf", "safetensors", "hf"),
                         [](const auto& test) { return test_name(test.param); });

}  // namespace
}  // namespace terse
