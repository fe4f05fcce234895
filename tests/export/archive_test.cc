// The archive: the container by itself, models in it, and the nm folder.
#include "export/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/checksum.h"
#include "export/formats.h"
#include "export/import.h"
#include "export/import_archive.h"
#include "export/inspect.h"
#include "export/llama_archive.h"
#include "export/nm_matrix.h"
#include "tests/export/sample_artifact.h"
#include "tests/export/test_files.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<float> kValues = {1.0f, -2.0f, 0.5f, 3.0f, 4.0f, 5.0f};

std::vector<ArchiveItem> small_items() {
  const TensorView view = {DType::f32, {2, 3}, std::as_bytes(std::span(kValues))};
  return {{"plain", DType::f32, {2, 3}, source_of(view), false},
          {"coded", DType::f32, {2, 3}, source_of(view), true},
          {"empty", DType::bf16, {0, 7}, [](const ByteSink&) {}, true},
          {"scalar", DType::f32, {}, source_of({DType::f32, {}, view.data.first(4)}), false}};
}

std::string small_file(const TestFolder& folder) {
  const std::string path = folder / "small.terse";
  write_archive(FileSystem::real(), path, {{"key", "value"}, {"", "empty"}}, small_items());
  return path;
}

std::span<const std::byte> bytes_of_text(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(Archive, ComesBack) {
  const TestFolder folder;
  const ArchiveFile file(small_file(folder));
  EXPECT_EQ(file.metadata(), (Metadata{{"key", "value"}, {"", "empty"}}));
  ASSERT_EQ(file.tensors().size(), 4u);
  file.verify_checksums();
  for (const char* name : {"plain", "coded"}) {
    const ArchiveTensor& tensor = file.require(name, DType::f32);
    EXPECT_EQ(tensor.shape, (std::vector<int64_t>{2, 3}));
    std::vector<float> values(6);
    file.read(tensor, values.data());
    EXPECT_EQ(values, kValues);
  }
  EXPECT_EQ(file.find("missing"), nullptr);
  EXPECT_THROW(file.require("missing", DType::f32), Error);
  EXPECT_THROW(file.require("plain", DType::bf16), Error);
}

TEST(Archive, EveryTruncationIsAnError) {
  const TestFolder folder;
  const std::string whole = read_text(small_file(folder));
  for (size_t n = 0; n < whole.size(); ++n)
    EXPECT_THROW(ArchiveFile(bytes_of_text(whole).first(n), "cut"), Error) << n;
}

TEST(Archive, EveryFlippedByteIsNoticed) {
  const TestFolder folder;
  const std::string whole = read_text(small_file(folder));
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x21);
    EXPECT_THROW(ArchiveFile(bytes_of_text(damaged), "flip").verify_checksums(), Error) << i;
  }
}

TEST(Archive, WrongItemsLeaveNoFile) {
  const TestFolder folder;
  auto twice = small_items();
  twice[1].name = "plain";
  EXPECT_THROW(write_archive(FileSystem::real(), folder / "a", {}, twice), Error);
  auto few = small_items();
  few[1].shape = {2, 4};
  EXPECT_THROW(write_archive(FileSystem::real(), folder / "a", {}, few), Error);
  EXPECT_THAT(FileSystem::real().list(folder.path()), IsEmpty());
}

// An index that claims a large tensor for few bytes, with a right checksum.
TEST(Archive, ClaimsBeyondTheFileAreErrors) {
  const TestFolder folder;
  std::string whole = read_text(small_file(folder));
  const size_t at = whole.find("coded") + 5 + 8 + 3 + 1 + 8;  // the first dimension
  uint64_t begin = 0, size = 0;
  std::memcpy(&begin, whole.data() + whole.size() - 32, 8);
  std::memcpy(&size, whole.data() + whole.size() - 24, 8);
  for (const int64_t rows : {int64_t{1} << 20, int64_t{1} << 62, int64_t{-1}}) {
    std::memcpy(whole.data() + at, &rows, 8);
    const uint64_t sum = checksum(bytes_of_text(whole).subspan(begin, size));
    std::memcpy(whole.data() + whole.size() - 16, &sum, 8);
    EXPECT_THROW(ArchiveFile(bytes_of_text(whole), "claim"), Error) << rows;
  }
}

struct Case {
  const char* weights;
  const char* pattern;
};

class ArchiveModel : public ::testing::TestWithParam<Case> {
 protected:
  static Artifact model() {
    SampleOptions options;
    options.weights = GetParam().weights;
    options.pattern = GetParam().pattern;
    Artifact artifact = sample_artifact(options);
    artifact.tokenizer.model = std::string("\x0a\x00model", 7);
    return artifact;
  }
  static void expect_same(const Artifact& read, const Artifact& artifact) {
    EXPECT_EQ(read.shape, artifact.shape);
    Metadata metadata = read.metadata;
    EXPECT_EQ(metadata.erase("layers"), 1);
    EXPECT_EQ(metadata, artifact.metadata);
    EXPECT_EQ(read.tokenizer.model, artifact.tokenizer.model);
    EXPECT_EQ(read.tokenizer.bos, artifact.tokenizer.bos);
    ASSERT_EQ(read.weights.size(), artifact.weights.size());
    for (size_t i = 0; i < read.weights.size(); ++i) {
      const ArtifactWeight &a = read.weights[i], &b = artifact.weights[i];
      EXPECT_EQ(a.name, b.name);
      EXPECT_EQ(a.shape, b.shape);
      EXPECT_EQ(a.pattern, b.pattern);
      EXPECT_EQ(a.input, b.input);
      ASSERT_EQ(a.format, b.format) << a.name;
      if (!b.compressed()) {
        EXPECT_EQ(a.dtype, b.dtype);
        EXPECT_EQ(dense_bytes(a), dense_bytes(b)) << a.name;
        continue;
      }
      EXPECT_EQ(a.codes().codes, b.codes().codes) << a.name;
      EXPECT_EQ(a.codes().scales, b.codes().scales) << a.name;
      EXPECT_EQ(a.codes().mask, b.codes().mask) << a.name;
    }
  }
};

TEST_P(ArchiveModel, ComesBackAsItWas) {
  const TestFolder folder;
  const Artifact artifact = model();
  const std::string path = folder / "model.terse";
  export_artifact(FileSystem::real(), artifact, resolve_format("archive"), path);
  EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
  expect_same(read_artifact(path), artifact);
  EXPECT_EQ(inspect_file(path).checksums, "ok");
}

TEST_P(ArchiveModel, NmFolderComesBackWithItsTwin) {
  const TestFolder folder;
  const Artifact artifact = model();
  const std::string path = folder / "nm";
  const std::string pattern = GetParam().pattern;
  if (pattern.empty() || pattern.starts_with("unstructured")) {
    EXPECT_THROW(export_artifact(FileSystem::real(), artifact, resolve_format("nm"), path), Error);
    EXPECT_FALSE(FileSystem::real().exists(path));
    return;
  }
  export_artifact(FileSystem::real(), artifact, resolve_format("nm"), path);
  EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
  expect_same(read_artifact(path), artifact);
  // A twin that says something else is found.
  const Artifact other = sample_artifact({.weights = "bf16", .pattern = "2:4", .seed = 9});
  FileSystem::real().remove(path + "/model.safetensors");
  export_artifact(FileSystem::real(), other, resolve_format("safetensors"),
                  path + "/model.safetensors");
  EXPECT_FALSE(verify_file(path, artifact).different.empty());
}

INSTANTIATE_TEST_SUITE_P(
    Models, ArchiveModel,
    ::testing::Values(Case{"bf16", ""}, Case{"f32", ""}, Case{"q4_0", ""}, Case{"half_int3", ""},
                      Case{"bf16", "2:4"}, Case{"f16", "1:4"}, Case{"q4_0", "2:4"},
                      Case{"q8_0", "4:8"}, Case{"half_int3", "2:4"}, Case{"half_int3", "1:32"},
                      Case{"bf16", "unstructured:0.5"}, Case{"q4_0", "unstructured:0.5"}),
    [](const auto& test) {
      return test_name(fmt::format("{} {}", test.param.weights, test.param.pattern));
    });

// What layers do to their inputs, on any grid, of codes and of dense weights.
TEST(ArchiveInputs, ComeBackAreShownAndVerified) {
  const TestFolder folder;
  const std::string up = "model.layers.0.mlp.up_proj.weight",
                    down = "model.layers.0.mlp.down_proj.weight";
  for (const char* format : {"archive", "nm"}) {
    Artifact artifact = sample_artifact({.weights = "bf16", .pattern = "2:4"});
    for (ArtifactWeight& weight : artifact.weights) {
      if (weight.name == up)
        weight.input = InputFormat{.bits = 4, .rule = ScaleRule::rms, .grid = "half_int"};
      if (weight.name == down) weight.input = InputFormat{.bits = 8, .scale = 0.1f};
    }
    const std::string path = folder / format;
    export_artifact(FileSystem::real(), artifact, resolve_format(format), path);
    const Artifact read = read_artifact(path);
    for (const ArtifactWeight& weight : artifact.weights)
      EXPECT_EQ(read.weight(weight.name).input, weight.input) << weight.name;
    std::map<std::string, std::string> shown;
    for (const InspectTensor& tensor : inspect_file(path).tensors)
      if (!tensor.input.empty()) shown[tensor.name] = tensor.input;
    EXPECT_EQ(shown, (std::map<std::string, std::string>{{up, "half_int b4 rms"},
                                                         {down, "int_signed b8 at 0.1"}}));
    EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
    for (ArtifactWeight& weight : artifact.weights)
      if (weight.name == down) weight.input->scale = 0.2f;
    EXPECT_THAT(verify_file(path, artifact).different, ::testing::ElementsAre(down));
  }
}

TEST(ArchiveInputs, NonsenseIsAnError) {
  const TestFolder folder;
  const std::string path = folder / "model.terse";
  Artifact artifact = sample_artifact();
  for (ArtifactWeight& weight : artifact.weights)
    if (weight.compressed()) weight.input = InputFormat{.bits = 77};
  export_artifact(FileSystem::real(), artifact, resolve_format("archive"), path);
  try {
    read_artifact(path);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::invalid_file);
    EXPECT_THAT(e.what(), HasSubstr("b77"));
  }
}

// Half the columns stay: 8 bits of values and 1 of positions a weight, instead of 16.
TEST(NmFolder, TakesWhatItShould) {
  const TestFolder folder;
  const Artifact artifact = sample_artifact({.weights = "bf16", .pattern = "2:4"});
  export_artifact(FileSystem::real(), artifact, resolve_format("nm"), folder / "nm");
  int found = 0;
  for (const InspectTensor& tensor : inspect_file(folder / "nm").tensors) {
    if (tensor.name != "model.layers.0.mlp.up_proj.weight") continue;
    EXPECT_EQ(tensor.bytes, 96 * 64 / 2 * 2 + 96 * 64 / 8);  // two of four bits say where
    EXPECT_EQ(tensor.bits_per_weight(), 9.0);
    ++found;
  }
  EXPECT_EQ(found, 1);
}

TEST(NmFolder, MultipliesWhatItHolds) {
  const TestFolder folder;
  for (const char* weights : {"bf16", "half_int3"}) {
    const Artifact artifact = sample_artifact({.weights = weights, .pattern = "2:4"});
    const std::string path = folder / weights;
    export_artifact(FileSystem::real(), artifact, resolve_format("nm"), path);
    const std::string name = "model.layers.1.mlp.down_proj.weight";
    const auto file = std::make_shared<ArchiveFile>(path + "/" + kNmFile);
    const NmMatrix matrix = read_nm_matrix(file, name);
    const std::vector<float> dense = effective_values(artifact.weight(name));
    std::vector<float> identity(static_cast<size_t>(matrix.columns * matrix.columns));
    for (int64_t i = 0; i < matrix.columns; ++i)
      identity[static_cast<size_t>(i * matrix.columns + i)] = 1.0f;
    std::vector<float> y(static_cast<size_t>(matrix.columns * matrix.rows));
    nm_multiply(matrix, identity.data(), matrix.columns, 0, matrix.rows, y.data());
    for (int64_t r = 0; r < matrix.rows; ++r)
      for (int64_t c = 0; c < matrix.columns; ++c)
        ASSERT_EQ(y[static_cast<size_t>(c * matrix.rows + r)],
                  dense[static_cast<size_t>(r * matrix.columns + c)]);
    EXPECT_THROW(read_nm_matrix(file, "model.embed_tokens.weight"), Error);
  }
}

TEST(NmFolder, RefusalsNameTheRemedy) {
  const TestFolder folder;
  const auto refusal = [&](const Artifact& artifact) {
    try {
      export_artifact(FileSystem::real(), artifact, resolve_format("nm"), folder / "no");
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::usage);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(refusal(sample_artifact()), HasSubstr("pattern = \"2:4\""));
  Artifact rotated = sample_artifact({.pattern = "2:4"});
  for (ArtifactWeight& weight : rotated.weights)
    if (weight.compressed()) weight.format->hadamard = 32;
  EXPECT_THAT(refusal(rotated), HasSubstr("or export archive"));
}

// 800 kB of zeros take some hundred bytes: a weight must not decode more scales than it has.
TEST(Archive, PartsOfWrongSizesAreSeenBeforeTheyAreDecoded) {
  const TestFolder folder;
  const Codes codes = sample_codes(2, 64, "q4_0", 1);
  const std::vector<float> many(200'000);
  for (const char* part : {"w/scales", "w/mask"}) {
    const bool scales = std::string_view(part) == "w/scales";
    const TensorView wrong = {scales ? DType::f32 : DType::u8,
                              {2, scales ? 100'000 : 400'000},
                              std::as_bytes(std::span(many))};
    const TensorView good = {DType::f32, {2, 2}, std::as_bytes(std::span(codes.scales))};
    const TensorView bytes = {DType::i8, {2, 64}, std::as_bytes(std::span(codes.codes))};
    std::vector<ArchiveItem> items = {{"w/codes", DType::i8, bytes.shape, source_of(bytes), false},
                                      {part, wrong.dtype, wrong.shape, source_of(wrong), true}};
    if (!scales) items.push_back({"w/scales", DType::f32, good.shape, source_of(good), false});
    write_archive(FileSystem::real(), folder / "x",
                  {{"codes/w", to_string(codes.format)}, {"columns/w", "64"}}, items);
    const auto file = std::make_shared<const ArchiveFile>(folder / "x");
    try {
      archive_weight(file, "w").codes();
      FAIL() << part;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr(std::string(part) + "\" has"));
    }
  }
}

TEST(Archive, AnyFailingCallLeavesNothing) {
  const TestFolder folder;
  const Artifact artifact = sample_artifact();
  const ExportFormat format = resolve_format("archive");
  expect_nothing_or_all(
      folder, "out", [&](FileSystem& fs) { export_artifact(fs, artifact, format, folder / "out"); },
      [&](const std::string& path) {
        EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
      });
}

TEST(NmFolder, AnyFailingCallLeavesNothing) {
  const TestFolder folder;
  const Artifact artifact = sample_artifact({.weights = "q4_0", .pattern = "2:4"});
  const ExportFormat format = resolve_format("nm");
  expect_nothing_or_all(
      folder, "out", [&](FileSystem& fs) { export_artifact(fs, artifact, format, folder / "out"); },
      [&](const std::string& path) {
        EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
      },
      3);
}

}  // namespace
}  // namespace terse
