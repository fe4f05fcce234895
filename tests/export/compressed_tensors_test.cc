// Models in the compressed-tensors layout and back by the reader, which shares no code with the
// writer; tests/engines has transformers read them.
#include "export/compressed_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "export/formats.h"
#include "export/import.h"
#include "export/inspect.h"
#include "tests/export/coded_artifact.h"
#include "tests/export/test_files.h"

namespace terse {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string write(const Artifact& artifact, const TestFolder& folder,
                  const std::string& format = "compressed-tensors", int64_t shard_bytes = 0) {
  const std::string path = folder / "out";
  export_artifact(FileSystem::real(), artifact, resolve_format(format), path, shard_bytes);
  return path;
}

json config_of(const std::string& path) {
  return json::parse(read_text(path + "/config.json"));
}

std::string error_of(ExitCode code, const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  return "";
}

struct Case {
  const char* name;
  CodeFormat format;
  std::optional<InputFormat> input;
  const char* layout;
  const char* strategy;
};

CodeFormat rotated(CodeFormat format) {
  format.hadamard = 32;
  return format;
}
CodeFormat masked(CodeFormat format) {
  format.pattern = "2:4";
  return format;
}
CodeFormat ternary() {
  CodeFormat format = int_format(2, 0);
  format.grid = "ternary";
  format.code_min = -1;
  return format;
}

const std::vector<Case>& cases() {
  const InputFormat a8{.bits = 8}, a4{.bits = 4}, fixed{.bits = 8, .scale = 0.03125f};
  static const std::vector<Case> all = {
      {"w1", int_format(1), {}, "pack-quantized", "group"},
      {"w2", int_format(2), {}, "pack-quantized", "group"},
      {"w3", int_format(3, 0), {}, "pack-quantized", "channel"},
      {"w4", int_format(4), {}, "pack-quantized", "group"},
      {"w5", int_format(5, 32, ScaleType::bf16), {}, "pack-quantized", "group"},
      {"w6", int_format(6), {}, "pack-quantized", "group"},
      {"w7", int_format(7, 0, ScaleType::f32), {}, "pack-quantized", "channel"},
      {"w8", int_format(8, 0), {}, "pack-quantized", "channel"},
      {"w4_tensor", int_format(4, -1), {}, "pack-quantized", "channel"},
      {"ternary", ternary(), {}, "pack-quantized", "channel"},
      {"half_int3", half_int_format(3), {}, "pack-quantized", "group"},
      {"half_int1", half_int_format(1), {}, "pack-quantized", "group"},
      {"w8a8", int_format(8, 0), a8, "int-quantized", "channel"},
      {"w8a8_static", int_format(8, 0), fixed, "int-quantized", "channel"},
      {"w8a8_group", int_format(8), a8, "pack-quantized", "group"},
      {"w4a8", int_format(4), a8, "pack-quantized", "group"},
      {"w4a4", int_format(4), a4, "pack-quantized", "group"},
      {"w4a4_hadamard", rotated(int_format(4, 0)), a4, "pack-quantized", "channel"},
      {"masked", masked(int_format(4)), {}, "pack-quantized", "group"},
      {"nvfp4", nvfp4_format(), {}, "nvfp4-pack-quantized", "tensor_group"},
      {"nvfp4_masked", masked(nvfp4_format()), {}, "nvfp4-pack-quantized", "tensor_group"},
      {"mxfp4", mxfp4_format(), {}, "mxfp4-pack-quantized", "group"},
      {"nvfp4_inputs", nvfp4_format(), nvfp4_input(0.25f), "nvfp4-pack-quantized", "tensor_group"},
      {"mxfp4_inputs", mxfp4_format(), mxfp4_input(), "mxfp4-pack-quantized", "group"},
  };
  return all;
}

class CompressedTensors : public ::testing::TestWithParam<Case> {};

TEST_P(CompressedTensors, ComesBackWithTheSameValues) {
  const TestFolder folder;
  const Artifact artifact = coded_artifact(GetParam().format, GetParam().input);
  const std::string path = write(artifact, folder);
  const json quantization = config_of(path)["quantization_config"];
  EXPECT_EQ(quantization["format"], GetParam().layout);
  EXPECT_EQ(quantization["config_groups"]["group_0"]["weights"]["strategy"], GetParam().strategy);
  EXPECT_EQ(quantization["ignore"], json::array({"lm_head"}));
  EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
  const Artifact read = read_artifact(path);
  EXPECT_EQ(read.shape, artifact.shape);
  EXPECT_EQ(read.metadata.at("method"), artifact.metadata.at("method"));
  EXPECT_THAT(read.metadata.at("layers"), HasSubstr("model.layers.0.mlp.up_proj.weight"));
  for (const ArtifactWeight& weight : artifact.weights) {
    const ArtifactWeight& back = read.weight(weight.name);
    EXPECT_EQ(back.compressed(), weight.compressed());
    EXPECT_EQ(back.input, weight.input);
    if (!weight.compressed()) continue;
    EXPECT_EQ(back.format->hadamard, weight.format->hadamard);
  }
}

// What is exact is exact in codes and scales, not only in values.
TEST_P(CompressedTensors, CodesAndScalesAreTheSame) {
  const CodeFormat& format = GetParam().format;
  if (format.offset != 0.0f || format.group < 0) GTEST_SKIP() << "exact after a change of code";
  const TestFolder folder;
  const Artifact artifact = coded_artifact(format, GetParam().input);
  const Artifact read = read_artifact(write(artifact, folder));
  for (const ArtifactWeight& weight : artifact.weights) {
    if (!weight.compressed()) continue;
    const Codes a = weight.codes(), b = read.weight(weight.name).codes();
    EXPECT_EQ(a.codes, b.codes) << weight.name;
    EXPECT_EQ(a.scales, b.scales) << weight.name;
    EXPECT_EQ(a.tensor_scale, b.tensor_scale) << weight.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Layouts, CompressedTensors, ::testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

TEST(CompressedTensorsConfig, InputsAndRotationsAreSaid) {
  const TestFolder folder;
  const json q = config_of(write(coded_artifact(rotated(int_format(4, 0)), InputFormat{.bits = 4}),
                                 folder))["quantization_config"];
  const json group = q["config_groups"]["group_0"];
  EXPECT_EQ(group["targets"], json::array({"Linear"}));
  EXPECT_EQ(group["format"], "pack-quantized");  // or readers infer int-quantized
  EXPECT_EQ(group["input_activations"]["num_bits"], 4);
  EXPECT_EQ(group["input_activations"]["strategy"], "token");
  EXPECT_EQ(group["input_activations"]["dynamic"], true);
  const json transform = q["transform_config"]["config_groups"]["hadamard_32"];
  EXPECT_EQ(transform["head_dim"], 32);
  EXPECT_EQ(transform["apply"][0]["location"], "input");
  EXPECT_EQ(transform["apply"][0]["ignore"], json::array({"lm_head"}));
  EXPECT_FALSE(q.contains("sparsity_config"));
}

// As the field's presets NVFP4 and MXFP4 have them.
TEST(CompressedTensorsConfig, Fp4InputsAreSaid) {
  const auto said = [](const CodeFormat& format, const InputFormat& input) {
    const TestFolder folder;
    const std::string path = write(coded_artifact(format, input), folder);
    const json groups = config_of(path)["quantization_config"]["config_groups"];
    return groups["group_0"]["input_activations"];
  };
  EXPECT_EQ(said(nvfp4_format(), nvfp4_input(8)), json({{"num_bits", 4},
                                                        {"type", "float"},
                                                        {"symmetric", true},
                                                        {"strategy", "tensor_group"},
                                                        {"dynamic", "local"},
                                                        {"group_size", 16},
                                                        {"scale_dtype", "torch.float8_e4m3fn"}}));
  EXPECT_EQ(said(mxfp4_format(), mxfp4_input()), json({{"num_bits", 4},
                                                       {"type", "float"},
                                                       {"symmetric", true},
                                                       {"strategy", "group"},
                                                       {"dynamic", true},
                                                       {"group_size", 32},
                                                       {"scale_dtype", "torch.uint8"}}));
  EXPECT_EQ(said(nvfp4_format(), mxfp4_input()), nullptr);
  EXPECT_EQ(said(mxfp4_format(), nvfp4_input(8)), nullptr);
}

// Grids that readers do not compute: nothing is said of them, as for a layer without codes.
TEST(CompressedTensorsConfig, OnlyWhatReadersComputeIsSaid) {
  const InputFormat silent[] = {{.bits = 4, .rule = ScaleRule::rms, .grid = "half_int"},
                                {.bits = 8, .rule = ScaleRule::rms},
                                {.bits = 8, .grid = "int_symmetric"},
                                {.bits = 1, .scale = 0.5f},
                                {.bits = 4, .scale = 0.5f, .grid = "half_int"},
                                nvfp4_input(8),
                                mxfp4_input()};
  const FormatRow& row = format_row(resolve_format("compressed-tensors"));
  for (const InputFormat& input : silent) {
    const TestFolder folder;
    const Artifact artifact = coded_artifact(int_format(4), input);
    EXPECT_FALSE(as_stored(artifact, row).rounds_inputs()) << to_string(input);
    const std::string path = write(artifact, folder, "compressed-tensors:w4a16");
    EXPECT_FALSE(read_artifact(path).rounds_inputs()) << to_string(input);
    EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
    EXPECT_THAT(compressed_tensors_warnings(artifact), Contains(HasSubstr("unrounded")));
  }
  EXPECT_TRUE(as_stored(coded_artifact(int_format(4), InputFormat{}), row).rounds_inputs());
  EXPECT_FALSE(
      as_stored(coded_artifact(int_format(4), InputFormat{}), format_row(resolve_format("gguf")))
          .rounds_inputs());
}

// The numbers of a config.json that someone changed are found as a changed weight is.
TEST(CompressedTensorsConfig, VerifyComparesInputs) {
  const TestFolder folder;
  const Artifact artifact = coded_artifact(int_format(4), InputFormat{.bits = 4});
  const std::string path = write(coded_artifact(int_format(4), InputFormat{.bits = 8}), folder);
  EXPECT_EQ(verify_file(path, artifact).different.size(), 14u);
}

CodedLayer mixture(const std::string& name) {
  if (name.find("mlp.down_proj") != std::string::npos) return {int_format(8, 0), InputFormat{}};
  if (name.find("layers.1.mlp") != std::string::npos) return {nvfp4_format()};
  if (name.find("layers.0.self_attn") != std::string::npos) return {int_format(3)};
  if (name.find("layers.1.self_attn.k_proj") != std::string::npos) return {rotated(int_format(4))};
  return {};
}

TEST(CompressedTensorsConfig, EveryLayerMayDiffer) {
  const TestFolder folder;
  const Artifact artifact = coded_artifact(mixture);
  const std::string path = write(artifact, folder);
  const json q = config_of(path)["quantization_config"];
  EXPECT_EQ(q["format"], "mixed-precision");
  EXPECT_EQ(q["config_groups"].size(), 4u);
  EXPECT_THAT(q["ignore"].get<std::vector<std::string>>(),
              Contains("model.layers.1.self_attn.q_proj"));
  EXPECT_EQ(q["transform_config"]["config_groups"]["hadamard_32"]["apply"][0]["targets"],
            json::array({"model.layers.1.self_attn.k_proj"}));
  EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
  EXPECT_THAT(compressed_tensors_warnings(artifact),
              Contains(AllOf(HasSubstr("model.layers.1.self_attn.qkv_proj"), HasSubstr("vLLM"))));
}

Artifact with_output(const CodeFormat& format) {
  Artifact artifact = coded_artifact(format);
  for (ArtifactWeight& weight : artifact.weights)
    if (weight.name == "lm_head.weight")
      weight = compressed_weight(weight.name, std::make_shared<Codes>(random_codes(
                                                  format, weight.shape[0], weight.shape[1], 1)));
  return artifact;
}

// vLLM finds it by name only, and would not rotate its inputs.
TEST(CompressedTensorsConfig, TheOutputMatrixIsNamedUnlessRotated) {
  const auto targets = [](const CodeFormat& format) {
    const TestFolder folder;
    const Artifact artifact = with_output(format);
    const std::string path = write(artifact, folder);
    EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
    return config_of(path)["quantization_config"]["config_groups"]["group_0"]["targets"];
  };
  EXPECT_EQ(targets(int_format(4)), json::array({"Linear", "lm_head"}));
  EXPECT_EQ(targets(rotated(int_format(4))), json::array({"Linear"}));
  EXPECT_THAT(compressed_tensors_warnings(with_output(rotated(int_format(4)))),
              Contains(HasSubstr("lm_head")));
}

TEST(CompressedTensorsConfig, WarnsOfWhatReadersIgnore) {
  const auto warnings = [](const CodeFormat& format, const std::optional<InputFormat>& input) {
    return compressed_tensors_warnings(coded_artifact(format, input));
  };
  EXPECT_THAT(warnings(int_format(4), {}), IsEmpty());
  EXPECT_THAT(warnings(int_format(4), InputFormat{.bits = 4}), Contains(HasSubstr("Humming")));
  EXPECT_THAT(warnings(nvfp4_format(), nvfp4_input(8)), Contains(HasSubstr("Blackwell")));
  EXPECT_THAT(warnings(nvfp4_format(), {}), IsEmpty());
  EXPECT_THAT(warnings(int_format(4), InputFormat{.bits = 8, .scale = 0.5f}),
              Contains(HasSubstr("refuses")));
  EXPECT_THAT(warnings(rotated(int_format(4)), {}), Contains(HasSubstr("apply_transform_config")));
  EXPECT_THAT(warnings(int_format(1), {}), Contains(HasSubstr("2 to 8 bits")));
  EXPECT_THAT(warnings(int_format(3), {}), Contains(HasSubstr("June 2026")));
  EXPECT_THAT(warnings(int_format(4, 16), {}), Contains(HasSubstr("32, 64 or 128")));
  Artifact other = coded_artifact(int_format(4));
  other.act_bits = 4;  // on QuEST's grid, which no reader computes
  EXPECT_THAT(compressed_tensors_warnings(other), Contains(HasSubstr("unrounded")));
}

TEST(CompressedTensorsTypes, OnlyWhatTheyAreCalled) {
  const TestFolder folder;
  const Artifact w4a4 = coded_artifact(int_format(4), InputFormat{.bits = 4});
  EXPECT_NO_THROW(write(w4a4, folder, "compressed-tensors:w4a4"));
  EXPECT_THAT(error_of(ExitCode::usage,
                       [&] { check_export(resolve_format("compressed-tensors:w4a16"), w4a4); }),
              AllOf(HasSubstr("is w4a4, not w4a16"), HasSubstr("[qat] target")));
  const Artifact nvfp4 = coded_artifact(nvfp4_format(), nvfp4_input(8));
  const Artifact alone = coded_artifact(nvfp4_format());
  EXPECT_NO_THROW(check_export(resolve_format("compressed-tensors:nvfp4"), nvfp4));
  EXPECT_NO_THROW(check_export(resolve_format("compressed-tensors:nvfp4a16"), alone));
  EXPECT_THAT(error_of(ExitCode::usage,
                       [&] { check_export(resolve_format("compressed-tensors:nvfp4"), alone); }),
              HasSubstr("is nvfp4a16, not nvfp4"));
  EXPECT_THAT(error_of(ExitCode::usage, [] { resolve_format("compressed-tensors:w4a5"); }),
              HasSubstr("compressed-tensors:w4a4"));
}

TEST(CompressedTensorsTypes, WhatHasNoPlaceIsRefused) {
  const auto refusal = [](const CodeFormat& format) {
    const Artifact artifact = coded_artifact(format);
    return error_of(ExitCode::usage,
                    [&] { check_export(resolve_format("compressed-tensors"), artifact); });
  };
  EXPECT_THAT(refusal(masked(half_int_format(3))), HasSubstr("no zero"));
  EXPECT_THAT(refusal(half_int_format(8)), HasSubstr("9 bits"));
  CodeFormat odd = nvfp4_format();
  odd.group = 32;
  EXPECT_THAT(refusal(odd), HasSubstr("mxfp4"));
}

TEST(CompressedTensors, HalfOfAScaleThatLosesADigitIsRefused) {
  const TestFolder folder;
  auto codes = std::make_shared<Codes>(random_codes(half_int_format(3), 64, 64, 1));
  codes->scales[5] = 0x1.004p-14f;  // half of it is subnormal in fp16 and has one digit too many
  Artifact artifact = coded_artifact(half_int_format(3));
  for (ArtifactWeight& weight : artifact.weights)
    if (weight.name == "model.layers.1.self_attn.q_proj.weight")
      weight = compressed_weight(weight.name, codes);
  EXPECT_THAT(error_of(ExitCode::usage, [&] { write(artifact, folder); }),
              HasSubstr("model.layers.1.self_attn.q_proj"));
  EXPECT_FALSE(FileSystem::real().exists(folder / "out"));
}

TEST(CompressedTensors, ShardsAreOneModel) {
  const TestFolder folder;
  const Artifact artifact = coded_artifact(mixture);
  const std::string path = write(artifact, folder, "compressed-tensors", 20'000);
  const json index = json::parse(read_text(path + "/model.safetensors.index.json"));
  std::set<std::string> files;
  for (const auto& [name, file] : index["weight_map"].items()) files.insert(file);
  EXPECT_GT(files.size(), 3u);
  EXPECT_EQ(*files.begin(), fmt::format("model-00001-of-{:05}.safetensors", files.size()));
  EXPECT_FALSE(FileSystem::real().exists(path + "/model.safetensors"));
  EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
  EXPECT_EQ(inspect_file(path).checksums, "ok");
  FileSystem::real().remove(path + "/" + *files.begin());
  EXPECT_THROW(verify_file(path, artifact), Error);
}

TEST(CompressedTensors, ShardSizeIsForFolders) {
  const TestFolder folder;
  EXPECT_THAT(
      error_of(ExitCode::usage, [&] { write(sample_artifact(), folder, "gguf", 1'000'000); }),
      HasSubstr("--shard-size"));
}

TEST(CompressedTensors, AnyFailingCallLeavesNothing) {
  const TestFolder folder;
  const Artifact artifact = coded_artifact(int_format(4));
  const ExportFormat format = resolve_format("compressed-tensors");
  expect_nothing_or_all(
      folder, "out",
      [&](FileSystem& fs) { export_artifact(fs, artifact, format, folder / "out", 30'000); },
      [&](const std::string& path) {
        EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
      });
}

TEST(CompressedTensors, InspectCountsCodes) {
  const TestFolder folder;
  const Artifact artifact = coded_artifact(int_format(4), InputFormat{});
  const Inspection in = inspect_file(write(artifact, folder));
  EXPECT_EQ(in.format, "compressed-tensors");
  EXPECT_EQ(in.checksums, "ok");
  int64_t parameters = 0;
  for (const InspectTensor& tensor : in.tensors) {
    parameters +=
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), int64_t{1}, std::multiplies<>());
    if (tensor.name != "model.layers.0.mlp.up_proj.weight") continue;
    EXPECT_EQ(tensor.type, "INT4");
    EXPECT_EQ(tensor.input, "int_signed b8 absmax");
    EXPECT_EQ(tensor.bytes, 96 * 64 / 2 + 96 * 2 * 2 + 16);  // codes, fp16 scales, weight_shape
    std::map<int, int64_t> expected;
    for (const int8_t code : artifact.weight(tensor.name).codes().codes) ++expected[code];
    EXPECT_EQ(tensor.histogram, expected);
  }
  EXPECT_EQ(in.parameters, parameters);
  EXPECT_THAT(to_text(in), HasSubstr("input int_signed b8 absmax"));
  EXPECT_EQ(json::parse(to_json(in))["tensors"][2]["input"], "int_signed b8 absmax");
}

}  // namespace
}  // namespace terse
