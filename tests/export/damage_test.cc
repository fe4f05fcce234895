// Files of every GGUF type with one byte flipped, and exports that are killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <map>

#include "export/formats.h"
#include "export/gguf.h"
#include "export/gguf_pack.h"
#include "export/import.h"
#include "export/llama_archive.h"
#include "export/llama_onnx.h"
#include "tests/export/coded_artifact.h"
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

struct KilledCase {
  const char* format;
  const char* part;  // a file that a whole export has, where it is a folder
};

Artifact small_artifact(const std::string& format) {
  SampleOptions options;
  options.shape.layers = 1;
  options.shape.vocab = 16;
  options.tokenizer = false;
  if (format == "nm") options.pattern = "2:4";
  if (format != "compressed-tensors") return sample_artifact(options);
  return coded_artifact([](const std::string&) { return CodedLayer{int_format(4)}; }, options);
}

void write_as(FileSystem& fs, const Artifact& artifact, const std::string& format,
              const std::string& out) {
  if (format == "onnx")  // with its weights beside the graph, as those of a large model
    write_llama_onnx(fs, artifact, "", out, 0);
  else
    export_artifact(fs, artifact, resolve_format(format), out);
}

// Whether a child that exports was killed before its n-th call.
bool killed(const Artifact& artifact, const std::string& format, const std::string& out,
            int64_t calls) {
  const pid_t child = ::fork();
  if (child == 0) {
    KilledFileSystem fs(calls);
    try {
      write_as(fs, artifact, format, out);
    } catch (...) {  // it must not go on as a second copy of the tests
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
  return WIFSIGNALED(status);
}

// All that stands at `path`, a file or a folder: readers look at some of a folder's files only.
std::map<std::string, std::string> contents(const std::string& path) {
  if (!std::filesystem::is_directory(path)) return {{"", read_text(path)}};
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(path))
    if (entry.is_regular_file())
      files[entry.path().lexically_relative(path).string()] = read_text(entry.path().string());
  return files;
}

class KilledExport : public ::testing::TestWithParam<KilledCase> {};

TEST_P(KilledExport, LeavesNothingOrTheWholeFile) {
  const TestFolder folder;
  const std::string format = GetParam().format, out = folder / "out";
  const Artifact artifact = small_artifact(format);
  write_as(FileSystem::real(), artifact, format, out);
  EXPECT_THAT(verify_file(out, artifact).different, IsEmpty());
  const auto whole = contents(out);
  EXPECT_TRUE(whole.contains(GetParam().part));
  FileSystem::real().remove_all(out);
  int64_t calls = 0;
  while (killed(artifact, format, out, calls)) {
    if (FileSystem::real().exists(out)) {
      EXPECT_TRUE(contents(out) == whole) << calls;
    }
    for (const std::string& name : FileSystem::real().list(folder.path())) {
      EXPECT_TRUE(name == "out" || name.find(".tmp.") != std::string::npos) << name;
      FileSystem::real().remove_all(folder / name);
    }
    ++calls;
  }
  EXPECT_GT(calls, 5);
  EXPECT_TRUE(contents(out) == whole);
}

INSTANTIATE_TEST_SUITE_P(Formats, KilledExport,
                         ::testing::Values(KilledCase{"gguf", ""}, KilledCase{"safetensors", ""},
                                           KilledCase{"archive", ""},
                                           KilledCase{"hf", "config.json"},
                                           KilledCase{"compressed-tensors", "config.json"},
                                           KilledCase{"onnx", "model.onnx.data"},
                                           KilledCase{"nm", kNmFile}),
                         [](const auto& test) { return test_name(test.param.format); });

}  // namespace
}  // namespace terse
