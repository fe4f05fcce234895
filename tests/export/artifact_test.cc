// Models written and read back through each format.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/half.h"
#include "export/file_reader.h"
#include "export/formats.h"
#include "export/gguf.h"
#include "export/import.h"
#include "export/inspect.h"
#include "export/llama_gguf.h"
#include "export/requantize.h"
#include "qat/quantize.h"
#include "tests/export/sample_artifact.h"
#include "tests/export/test_files.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string write(const Artifact& artifact, const std::string& format, const TestFolder& folder) {
  const std::string path = folder / "out";
  export_artifact(FileSystem::real(), artifact, resolve_format(format), path);
  return path;
}

std::string usage_error(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage) << e.what();
    return e.what();
  }
  return "";
}

void expect_same_codes(const Artifact& a, const Artifact& b) {
  ASSERT_EQ(a.weights.size(), b.weights.size());
  for (const ArtifactWeight& weight : a.weights) {
    const ArtifactWeight& read = b.weight(weight.name);
    EXPECT_EQ(read.shape, weight.shape);
    ASSERT_EQ(read.compressed(), weight.compressed()) << weight.name;
    if (!weight.compressed()) {
      EXPECT_EQ(effective_values(read), effective_values(weight)) << weight.name;
      EXPECT_TRUE(weight.shape.size() == 1 || read.dtype == weight.dtype);
      continue;
    }
    EXPECT_EQ(read.codes().codes, weight.codes().codes) << weight.name;
    EXPECT_EQ(read.codes().scales, weight.codes().scales) << weight.name;
    EXPECT_EQ(to_string(read.codes().format), to_string(weight.codes().format));
  }
}

// What was given, and what the writer says of the tensors.
void expect_metadata(Metadata read, const Metadata& given) {
  const auto layers = nlohmann::json::parse(read["layers"], nullptr, false);
  EXPECT_TRUE(layers.contains("model.layers.0.mlp.up_proj.weight"));
  read.erase("layers");
  EXPECT_EQ(read, given);
}

// Wide enough for the blocks of every type.
Artifact wide_sample(const std::string& weights, bool tie = false) {
  SampleOptions options;
  options.weights = weights;
  options.shape.layers = 1;
  options.shape.width = options.shape.hidden = 256;
  options.shape.tie = tie;
  return sample_artifact(options);
}

class GgufModel : public ::testing::TestWithParam<std::string> {};

TEST_P(GgufModel, ComesBackAsItWas) {
  const TestFolder folder;
  const Artifact artifact = wide_sample(GetParam(), GetParam() == "q8_0");
  const std::string path = write(artifact, "gguf:" + GetParam(), folder);
  const Artifact read = read_artifact(path);
  EXPECT_EQ(read.shape, artifact.shape);
  EXPECT_EQ(read.tokenizer.pieces, artifact.tokenizer.pieces);
  EXPECT_EQ(read.tokenizer.bos, 1);
  EXPECT_EQ(read.tokenizer.pad, -1);
  expect_metadata(read.metadata, artifact.metadata);
  expect_same_codes(artifact, read);
  const VerifyResult result = verify_file(path, artifact);
  EXPECT_THAT(result.different, IsEmpty());
  EXPECT_EQ(result.equal, static_cast<int64_t>(artifact.weights.size()));
}

std::vector<std::string> gguf_kinds() {
  std::vector<std::string> kinds;
  for (const GgufPacking& packing : coded_packings()) kinds.push_back(packing.name);
  return kinds;
}

INSTANTIATE_TEST_SUITE_P(Types, GgufModel, ::testing::ValuesIn(gguf_kinds()),
                         [](const auto& test) { return test_name(test.param); });

TEST(LlamaGguf, DenseTypesComeBack) {
  for (const char* type : {"bf16", "f16", "f32"}) {
    const TestFolder folder;
    const Artifact artifact = wide_sample(type);
    const std::string path = write(artifact, "gguf", folder);
    expect_same_codes(artifact, read_artifact(path));
    EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
  }
}

// The scale of a whole tensor stands beside the blocks, and no other reader of ours sees it.
TEST(LlamaGguf, Nvfp4HasItsSecondScale) {
  const TestFolder folder;
  const GgufFile file(write(wide_sample("nvfp4"), "gguf", folder));
  const GgufTensor* scale = file.find("blk.0.ffn_up.scale");
  ASSERT_NE(scale, nullptr);
  EXPECT_EQ(scale->shape, std::vector<int64_t>{1});
  float value = 0;
  gguf_decode(*scale, &value);
  EXPECT_EQ(value, 0x1p-9f);
  EXPECT_EQ(file.integer("general.file_type"), 39);
}

// llama.cpp's converter: w.reshape(heads, 2, d / 2, in).swapaxes(1, 2).reshape(out, in).
TEST(LlamaGguf, RowsOfQueryAndKeyMoveAsInLlamaCppsConverter) {
  const TestFolder folder;
  SampleOptions options;
  options.weights = "q8_0";
  const Artifact artifact = sample_artifact(options);
  const GgufFile file(write(artifact, "gguf", folder));
  const int64_t d = options.shape.head_size(), in = options.shape.width;
  for (const auto& [stored, name, heads] :
       {std::tuple{"blk.1.attn_q.weight", "model.layers.1.self_attn.q_proj.weight", int64_t{4}},
        std::tuple{"blk.1.attn_k.weight", "model.layers.1.self_attn.k_proj.weight", int64_t{2}}}) {
    const Codes have = *gguf_codes(*file.find(stored));
    const Codes source = artifact.weight(name).codes();
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < 2; ++i)
        for (int64_t j = 0; j < d / 2; ++j) {
          const int64_t from = h * d + i * (d / 2) + j, to = h * d + j * 2 + i;
          ASSERT_EQ(
              std::memcmp(&have.codes[static_cast<size_t>(to * in)],
                          &source.codes[static_cast<size_t>(from * in)], static_cast<size_t>(in)),
              0);
          ASSERT_EQ(have.scales[static_cast<size_t>(to * in / 32)],
                    source.scales[static_cast<size_t>(from * in / 32)]);
        }
  }
}

TEST(LlamaGguf, TypesAreThoseOfTheForward) {
  const TestFolder folder;
  const GgufFile file(write(sample_artifact(), "gguf", folder));
  EXPECT_EQ(file.find("token_embd.weight")->type, 30u);     // bf16
  EXPECT_EQ(file.find("output_norm.weight")->type, 0u);     // f32
  EXPECT_EQ(file.find("blk.0.ffn_down.weight")->type, 2u);  // q4_0
  EXPECT_EQ(file.integer("general.file_type"), 2);
  EXPECT_EQ(file.find("blk.0.ffn_down.weight")->shape, (std::vector<int64_t>{64, 96}));
}

TEST(Formats, HalfIntegerCodesBecomeOddQ4_0Codes) {
  const TestFolder folder;
  SampleOptions options;
  options.weights = "half_int3";
  const Artifact artifact = sample_artifact(options);
  const std::string path = write(artifact, "gguf:q4_0", folder);
  EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
}

TEST(Formats, EveryVerdictOfTheListHolds) {
  const std::vector<ExportRow> rows = export_list();
  const auto find = [&](const std::string& representation, const std::string& format,
                        const std::string& engine = "") {
    for (const ExportRow& row : rows)
      if (row.representation == representation && row.format == format &&
          (engine.empty() || row.engine == engine))
        return row;
    ADD_FAILURE() << representation << " " << format;
    return ExportRow{};
  };
  EXPECT_EQ(find("target gguf:q4_0", "gguf:q4_0").verdict, Verdict::exact);
  EXPECT_EQ(find("target gguf:q8_0", "gguf:q8_0").verdict, Verdict::exact);
  EXPECT_EQ(find("target gguf:q4_0", "gguf:f16").verdict, Verdict::impossible);
  EXPECT_EQ(find("target gguf:q8_0", "gguf:q4_0").verdict, Verdict::impossible);
  EXPECT_EQ(find("target gguf:q4_0, 2:4 mask", "gguf:q4_0").verdict, Verdict::exact);
  const ExportRow half_masked = find("half_int 4 bits, 128 columns, fp16, 2:4 mask", "gguf:q8_0");
  EXPECT_EQ(half_masked.verdict, Verdict::impossible);
  EXPECT_THAT(half_masked.reason, ::testing::AllOf(HasSubstr("no zero"), HasSubstr("gguf:q4_0")));
  EXPECT_NE(find("half_int 4 bits, 128 columns, fp16, 2:4 mask", "safetensors").verdict,
            Verdict::impossible);
  const auto& wide = "half_int 4 bits, 128 columns a scale, fp16";
  EXPECT_EQ(find(wide, "gguf:q5_0").verdict, Verdict::exact_after);
  EXPECT_THAT(find(wide, "gguf:q4_0").reason, HasSubstr("nearest: gguf:q5_0"));
  EXPECT_EQ(find("half_int 1 bit, 128 columns a scale, fp16", "gguf:q1_0").verdict,
            Verdict::exact_after);
  EXPECT_EQ(find("int_signed 2 bits, 64 columns a scale, fp16", "gguf:q2_0").verdict,
            Verdict::exact_after);
  EXPECT_EQ(find("target gguf:q4_0", "gguf:q4_0", "OpenVINO GenAI").verdict, Verdict::exact);
  EXPECT_EQ(find("dense bf16", "gguf:bf16").verdict, Verdict::exact);
  EXPECT_EQ(find("target gguf:q4_0", "onnx:int4").verdict, Verdict::exact);
  EXPECT_EQ(find(wide, "onnx:int4").verdict, Verdict::impossible);
  EXPECT_EQ(find(wide, "onnx").verdict, Verdict::exact_after);
  EXPECT_THAT(find("target gguf:mxfp4", "onnx").reason, HasSubstr("0.5 of the scale"));
  EXPECT_EQ(find("target gguf:q4_0, 2:4 mask", "nm").verdict, Verdict::exact);
  EXPECT_EQ(find("target gguf:q4_0", "nm").verdict, Verdict::impossible);
  EXPECT_EQ(find("dense bf16", "gguf:f32").verdict, Verdict::exact_after);
  EXPECT_EQ(find("dense fp32", "gguf:bf16").verdict, Verdict::impossible);
  EXPECT_EQ(find("target compressed-tensors:w4a4", "compressed-tensors:w4a4").verdict,
            Verdict::exact);
  EXPECT_EQ(
      find("target compressed-tensors:w4a4-hadamard", "compressed-tensors:w4a4-hadamard").verdict,
      Verdict::exact);
  const ExportRow unrounded = find("target compressed-tensors:w4a16", "compressed-tensors:w4a8");
  EXPECT_EQ(unrounded.verdict, Verdict::impossible);
  EXPECT_THAT(unrounded.reason, HasSubstr("inputs are not rounded"));
  const ExportRow free_inputs = find("target gguf:q4_0", "compressed-tensors:w4a8");
  EXPECT_EQ(free_inputs.verdict, Verdict::exact);
  EXPECT_THAT(free_inputs.reason, HasSubstr("if inputs are rounded to 8 bits"));
  for (const ExportRow& row : rows) {
    const bool rotated = row.representation.find("rotated") != std::string::npos ||
                         row.representation.find("-hadamard") != std::string::npos;
    const bool reader_rotates = row.format.starts_with("compressed-tensors");
    const bool archive = row.format == "archive";
    const bool fits = row.verdict != Verdict::impossible;
    EXPECT_TRUE(!rotated || !fits || reader_rotates || archive) << row.format;
    EXPECT_TRUE(!rotated || !archive || fits);
    EXPECT_TRUE(row.verdict == Verdict::exact || !row.reason.empty()) << row.representation;
  }
  EXPECT_EQ(nlohmann::json::parse(export_list_json()).size(), rows.size());
  EXPECT_EQ(find("target gguf:q4_0", "gguf:q4_0").engine, "llama.cpp");
  EXPECT_THAT(export_list_text(), HasSubstr("gguf:q4_0"));
}

// Whatever is said to be possible is tried, and equal bit for bit; whatever is not is refused.
TEST(Formats, WhatIsNotRefusedIsExact) {
  std::vector<std::string> kinds = sample_kinds();
  kinds.insert(kinds.end(), {"bf16", "f32"});
  for (const std::string& weights : kinds)
    for (const std::string& name : format_names()) {
      const TestFolder folder;
      SampleOptions options;
      options.weights = weights;
      options.shape = tiny_shape(std::max<int64_t>(64, sample_block(weights)));
      options.tokenizer = false;
      if (options.weights == "f32") options.dense = DType::f32;
      const Artifact artifact = sample_artifact(options);
      const ExportFormat format = resolve_format(name);
      try {
        check_export(format, artifact);
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ExitCode::usage);
        EXPECT_THROW(export_artifact(FileSystem::real(), artifact, format, folder / "out"), Error);
        EXPECT_FALSE(FileSystem::real().exists(folder / "out"));
        continue;
      }
      const ExportReport report =
          export_artifact(FileSystem::real(), artifact, format, folder / "out");
      EXPECT_GT(report.bytes, 0);
      EXPECT_THAT(verify_file(folder / "out", artifact).different, IsEmpty())
          << weights << " " << name;
    }
}

TEST(Formats, RefusalsSayWhyAndWhatToDo) {
  const Artifact q8 = sample_artifact({.weights = "q8_0"});
  EXPECT_THAT(usage_error([&] { check_export(resolve_format("gguf:q4_0"), q8); }),
              HasSubstr("codes lie in [-127, 127]"));
  const Artifact dense = sample_artifact({.weights = "bf16"});
  EXPECT_THAT(usage_error([&] { check_export(resolve_format("gguf:q4_0"), dense); }),
              HasSubstr("[qat] target = \"gguf:q4_0\""));
  EXPECT_THAT(usage_error([&] { check_export(resolve_format("gguf:f16"), dense); }),
              HasSubstr("rounded"));
  Artifact rotated = sample_artifact();
  for (ArtifactWeight& weight : rotated.weights)
    if (weight.compressed()) weight.format->hadamard = 32;
  for (const char* format : {"gguf", "gguf:q4_0", "hf"})
    EXPECT_THAT(usage_error([&] { check_export(resolve_format(format), rotated); }),
                HasSubstr("hadamard = 0"));
  EXPECT_THAT(usage_error([] { resolve_format("gguf:q4_2"); }), HasSubstr("\"gguf:q4_0\""));
  EXPECT_THAT(usage_error([] { resolve_format("q4_0"); }), HasSubstr("safetensors"));
}

TEST(Formats, ColumnsMustFitBlocks) {
  SampleOptions options;
  options.shape.hidden = 80;  // down_proj has 80 columns: no multiple of 32
  options.weights = "bf16";
  Artifact artifact = sample_artifact(options);
  auto codes = std::make_shared<Codes>(sample_codes(64, 80, "q4_0", 1));
  codes->format.group = 0;
  codes->scales.resize(64);
  for (ArtifactWeight& weight : artifact.weights)
    if (weight.name == "model.layers.0.mlp.down_proj.weight")
      weight = compressed_weight(weight.name, codes);
  EXPECT_THAT(usage_error([&] { check_export(resolve_format("gguf:q4_0"), artifact); }),
              HasSubstr("model.layers.0.mlp.down_proj.weight"));
  EXPECT_NO_THROW(check_export(resolve_format("gguf"), artifact));  // as F32
}

// What does not fit is encoded as the target's training would encode it; what fits stays.
TEST(Requantize, EncodesWhatDoesNotFitAndSaysSo) {
  const TestFolder folder;
  const Artifact trained = wide_sample("half_int3");
  const FormatRow& row = format_row(resolve_format("gguf:q8_0"));
  EXPECT_TRUE(requantized_as(requantized(trained, row).metadata).empty());  // fits: 2 code + 1
  Artifact dense = wide_sample("bf16");
  const Artifact changed = requantized(dense, row);
  EXPECT_EQ(requantized_as(changed.metadata), "gguf:q8_0");
  const std::string path = write(changed, "gguf:q8_0", folder);
  EXPECT_THAT(verify_file(path, changed).different, IsEmpty());
  EXPECT_EQ(requantized_as(reader_of(path).metadata(path)), "gguf:q8_0");
  const ArtifactWeight& weight = changed.weight("model.layers.0.mlp.up_proj.weight");
  const std::vector<float> values = effective_values(dense.weight(weight.name));
  Codes expected = weight.codes();
  quantize_rows(q8_0_grid(), {}, {.f32 = values.data(), .rows = 256, .columns = 256},
                {.codes = expected.codes.data(), .scales = expected.scales.data()});
  EXPECT_EQ(expected.codes, weight.codes().codes);
  EXPECT_FALSE(changed.weight("model.embed_tokens.weight").compressed());
  EXPECT_THAT(usage_error([&] { requantized(dense, format_row(resolve_format("gguf:q5_0"))); }),
              HasSubstr("no grid"));
}

TEST(Requantize, RotatedCodesAreRotatedBack) {
  const TestFolder folder;
  auto codes = std::make_shared<Codes>(sample_codes(256, 256, "q8_0", 1));
  codes->format.hadamard = 128;
  Artifact rotated = wide_sample("q8_0");
  for (ArtifactWeight& weight : rotated.weights)
    if (weight.name == "model.layers.0.mlp.up_proj.weight")
      weight = compressed_weight(weight.name, codes);
  EXPECT_THROW(check_export(resolve_format("hf"), rotated), Error);
  const Artifact dense = requantized(rotated, format_row(resolve_format("hf")));
  const std::vector<float> plain =
      effective_values(dense.weight("model.layers.0.mlp.up_proj.weight"));
  std::vector<float> again(plain.size());
  rotate_rows({.f32 = plain.data(), .rows = 256, .columns = 256}, nullptr, 128, again.data(),
              nullptr);
  std::vector<float> stored(plain.size());
  codes->decode(stored.data());
  for (size_t i = 0; i < stored.size(); ++i)  // H H = 1 up to the rounding of 2 x 7 additions
    ASSERT_NEAR(again[i], stored[i], 1e-5f);
  EXPECT_NO_THROW(check_export(resolve_format("hf"), dense));
}

TEST(Verify, NamesWhatDiffers) {
  const TestFolder folder;
  const Artifact artifact = sample_artifact();
  const std::string path = write(artifact, "gguf", folder);
  Artifact other = artifact;
  auto codes =
      std::make_shared<Codes>(artifact.weight("model.layers.1.mlp.up_proj.weight").codes());
  codes->codes[777] = static_cast<int8_t>(codes->codes[777] == 0 ? 1 : 0);
  for (ArtifactWeight& weight : other.weights)
    if (weight.name == "model.layers.1.mlp.up_proj.weight")
      weight = compressed_weight(weight.name, codes);
  const VerifyResult result = verify_file(path, other);
  EXPECT_EQ(result.different, std::vector<std::string>{"model.layers.1.mlp.up_proj.weight"});
  EXPECT_EQ(result.equal + 1, result.tensors);
  EXPECT_EQ(nlohmann::json::parse(to_json(result))["different"].size(), 1u);
}

TEST(Verify, FindsSwappedRows) {
  const TestFolder folder;
  const Artifact artifact = sample_artifact();
  const std::string path = write(artifact, "gguf", folder);
  Artifact other = artifact;
  other.shape.heads = 2;  // another head size: q and k come back in another order
  other.shape.kv_heads = 1;
  EXPECT_EQ(verify_file(path, other).different.size(), 4u);
}

TEST(Verify, MissingAndForeignTensors) {
  const TestFolder folder;
  Artifact artifact = sample_artifact();
  const std::string path = write(artifact, "gguf", folder);
  Artifact more = artifact;
  more.weights.push_back(more.weights[0]);
  more.weights.back().name = "extra";
  EXPECT_EQ(verify_file(path, more).different, std::vector<std::string>{"extra"});
  artifact.weights.pop_back();
  EXPECT_THROW(verify_file(path, artifact), Error);
}

TEST(Verify, CorruptFileIsAnError) {
  const TestFolder folder;
  const Artifact artifact = sample_artifact();
  const std::string path = write(artifact, "gguf", folder);
  std::string text = read_text(path);
  text[text.size() - 100] = static_cast<char>(text[text.size() - 100] ^ 1);
  write_atomically(FileSystem::real(), path, text);
  EXPECT_THROW(verify_file(path, artifact), Error);
  EXPECT_THROW(read_artifact(path), Error);
  EXPECT_THAT(inspect_file(path).checksums, HasSubstr("corrupt"));
}

TEST(HuggingFace, FolderComesBack) {
  const TestFolder folder;
  Artifact artifact = sample_artifact();
  artifact.tokenizer.model = std::string("\x0a\x00model", 7);
  const std::string path = write(artifact, "hf", folder);
  const auto config = nlohmann::json::parse(read_text(path + "/config.json"));
  EXPECT_EQ(config["architectures"][0], "LlamaForCausalLM");
  EXPECT_EQ(config["dtype"], "float32");  // decoded codes need it
  EXPECT_EQ(config["num_key_value_heads"], 2);
  EXPECT_EQ(read_text(path + "/tokenizer.model"), artifact.tokenizer.model);
  const auto tokenizer = nlohmann::json::parse(read_text(path + "/tokenizer_config.json"));
  EXPECT_EQ(tokenizer["bos_token"], "<s>");
  const Artifact read = read_artifact(path);
  EXPECT_EQ(read.shape, artifact.shape);
  expect_metadata(read.metadata, artifact.metadata);
  for (const ArtifactWeight& weight : artifact.weights)
    EXPECT_EQ(effective_values(read.weight(weight.name)), effective_values(weight));
  EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
  EXPECT_THROW(write(artifact, "hf", folder), Error);  // never over an existing model
}

// Sources may give pieces of any size, ends of elements or not.
TEST(Verify, TakesPiecesOfAnySize) {
  const TestFolder folder;
  Artifact artifact = sample_artifact();
  const std::string path = write(artifact, "hf", folder);
  for (ArtifactWeight& weight : artifact.weights) {
    if (weight.compressed()) continue;
    weight.bytes = [bytes = dense_bytes(weight)](const ByteSink& sink) {
      for (size_t at = 0; at < bytes.size(); at += 3)
        sink(std::span(bytes).subspan(at, std::min<size_t>(3, bytes.size() - at)));
    };
  }
  EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
  ArtifactWeight& last = artifact.weights.back();
  last.bytes = [bytes = dense_bytes(last)](const ByteSink& sink) {
    sink(std::span(bytes).first(bytes.size() - 1));
  };
  EXPECT_THAT(verify_file(path, artifact).different, testing::ElementsAre(last.name));
}

TEST(HuggingFace, AnyFailingCallLeavesNothing) {
  const TestFolder folder;
  const Artifact artifact = sample_artifact();
  const ExportFormat format = resolve_format("hf");
  expect_nothing_or_all(
      folder, "out", [&](FileSystem& fs) { export_artifact(fs, artifact, format, folder / "out"); },
      [&](const std::string& path) {
        EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
      });
}

TEST(Import, WrongModelsAreErrors) {
  const TestFolder folder;
  EXPECT_THROW(read_artifact(folder / "missing"), Error);
  EXPECT_THROW(read_artifact(folder.path()), Error);
  write_atomically(FileSystem::real(), folder / "text", "hello, world");
  EXPECT_THROW(read_artifact(folder / "text"), Error);
  Artifact artifact = sample_artifact();
  artifact.weights.pop_back();
  EXPECT_THROW(write(artifact, "gguf", folder), Error);
  write_gguf_file(FileSystem::real(), folder / "other",
                  {{"general.architecture", std::string("gpt2")}}, {});
  EXPECT_THROW(read_artifact(folder / "other"), Error);
}

TEST(Inspect, CountsCodesAndBits) {
  const TestFolder folder;
  const Artifact artifact = sample_artifact();
  const std::string path = write(artifact, "gguf", folder);
  const Inspection in = inspect_file(path);
  EXPECT_EQ(in.checksums, "ok");
  for (const InspectTensor& tensor : in.tensors) {
    if (tensor.name != "blk.0.ffn_up.weight") continue;
    EXPECT_EQ(tensor.type, "Q4_0");
    EXPECT_DOUBLE_EQ(tensor.bits_per_weight(), 4.5);
    std::map<int, int64_t> expected;
    for (const int8_t code : artifact.weight("model.layers.0.mlp.up_proj.weight").codes().codes)
      ++expected[code];
    EXPECT_EQ(tensor.histogram, expected);
  }
  EXPECT_THAT(to_text(in), HasSubstr("blk.0.ffn_up.weight"));
  const auto json = nlohmann::json::parse(to_json(in));
  EXPECT_EQ(json["tensors"].size(), artifact.weights.size());
  EXPECT_EQ(json["metadata"]["general.architecture"], "llama");
  EXPECT_EQ(inspect_file(write(artifact, "safetensors", folder)).format, "safetensors");
}

}  // namespace
}  // namespace terse
