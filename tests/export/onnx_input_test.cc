// What layers do to their inputs, as nodes of an ONNX graph: against the quantizer of training, and
// read back; tests/engines/onnx_test.py has ONNX Runtime's own view.
#include "export/onnx_input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "export/formats.h"
#include "export/import.h"
#include "export/import_onnx.h"
#include "export/inspect.h"
#include "export/llama_onnx.h"
#include "qat/quantize.h"
#include "tests/export/coded_artifact.h"
#include "tests/export/test_files.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const InputFormat kStatic{.bits = 8, .scale = 0.05f};
const char* const kDown = "model.layers.0.mlp.down_proj.weight";

using Values = std::vector<float>;
using Element = float (*)(float, float, float);

// ONNX's operators on one element; those of two inputs ignore the third.
const std::map<std::string, Element>& elements() {
  static const std::map<std::string, Element> all = {
      {"Abs", [](float a, float, float) { return std::fabs(a); }},
      {"Add", [](float a, float b, float) { return a + b; }},
      {"Mul", [](float a, float b, float) { return a * b; }},
      {"Div", [](float a, float b, float) { return a / b; }},
      {"Max", [](float a, float b, float) { return std::max(a, b); }},
      {"Sqrt", [](float a, float, float) { return std::sqrt(a); }},
      {"Reciprocal", [](float a, float, float) { return 1.0f / a; }},
      {"Round", [](float a, float, float) { return std::rint(a); }},
      {"Floor", [](float a, float, float) { return std::floor(a); }},
      {"Clip", [](float a, float b, float c) { return std::min(std::max(a, b), c); }},
      // Less the zero point.
      {"QuantizeLinear",
       [](float a, float b, float) { return std::clamp(std::rint(a / b), -128.0f, 127.0f); }},
      {"DequantizeLinear", [](float a, float b, float) { return a * b; }}};
  return all;
}

Values applied(const std::string& op, const std::vector<Values>& in) {
  const Values& x = in[0];
  if (op == "ReduceMax") return {*std::max_element(x.begin(), x.end())};
  if (op == "ReduceMean") {
    const double sum = std::accumulate(x.begin(), x.end(), 0.0);
    return {static_cast<float>(sum / static_cast<double>(x.size()))};
  }
  const auto at = [&](size_t input, size_t i) {
    if (input >= in.size()) return 0.0f;
    return in[input][in[input].size() == 1 ? 0 : i];
  };
  Values out(std::max(x.size(), in.size() > 1 ? in[1].size() : 1));
  for (size_t i = 0; i < out.size(); ++i) out[i] = elements().at(op)(at(0, i), at(1, i), at(2, i));
  return out;
}

// A number, where it is fp32; others (axes, zero points) do not matter here.
Values constant_of(const OnnxItem& item) {
  Values values(1);
  item.bytes([&](std::span<const std::byte> bytes) {
    if (item.type == OnnxType::f32) std::memcpy(values.data(), bytes.data(), sizeof(float));
  });
  return values;
}

// What the graph makes of one token.
Values rounded(const InputFormat& input, const Values& x, bool pair) {
  OnnxModel model;
  add_rounded_input(model, "y", "x", input, pair);
  std::map<std::string, Values> values = {{"x", x}};
  for (const OnnxItem& item : model.initializers) values[item.name] = constant_of(item);
  for (const OnnxNode& node : model.nodes) {
    std::vector<Values> in;
    for (const std::string& name : node.inputs) in.push_back(values.at(name));
    values[node.outputs[0]] = applied(node.op, in);
  }
  return values.at("y");
}

Values trained(const InputFormat& input, const Values& x) {
  Values out(x.size());
  float scale = input.scale;
  quantize_rows(input_grid(input, 0), {},
                {.f32 = x.data(), .rows = 1, .columns = static_cast<int64_t>(x.size())},
                {.scales = &scale, .f32 = out.data()});
  return out;
}

// Usual ones, one that a scale cannot be made of, and one with ties.
std::vector<Values> tokens() {
  std::vector<Values> all;
  std::mt19937 random(5);
  for (const float sigma : {1.0f, 0.003f, 40.0f}) {
    std::normal_distribution<float> normal(0.0f, sigma);
    for (int k = 0; k < 20; ++k) {
      all.emplace_back(96);
      for (float& value : all.back()) value = normal(random);
    }
  }
  all.emplace_back(96, 0.0f);
  all.emplace_back();
  for (int k = 0; k < 96; ++k) all.back().push_back(static_cast<float>(k - 64) / 8);
  return all;
}

const InputFormat kKnown[] = {
    {},
    {.bits = 4},
    {.bits = 8, .grid = "int_symmetric"},
    {.bits = 4, .grid = "half_int"},
    {.bits = 4, .rule = ScaleRule::rms, .grid = "half_int"},
    {.bits = 8, .rule = ScaleRule::rms},
    {.bits = 2, .rule = ScaleRule::absmean, .grid = "ternary"},
    {.bits = 1, .rule = ScaleRule::absmean, .grid = "half_int"},
    kStatic,
    {.bits = 4, .scale = 0.3f},
    {.bits = 8, .scale = 0.05f, .grid = "int_symmetric"},
    {.bits = 4, .scale = 0.3f, .grid = "half_int"},
};

class OnnxInput : public ::testing::TestWithParam<InputFormat> {};

TEST_P(OnnxInput, ComputesWhatTrainingDoes) {
  const InputFormat& input = GetParam();
  const bool mean = input.scale == 0.0f && input.rule != ScaleRule::absmax;
  ASSERT_TRUE(onnx_rounds(input));
  for (const Values& x : tokens()) {
    const Values want = trained(input, x), have = rounded(input, x, false);
    ASSERT_EQ(have.size(), want.size());
    // The mean's sum is in another order: a few of the last bits of the scale.
    for (size_t i = 0; i < x.size(); ++i)
      EXPECT_NEAR(have[i], want[i], mean ? 1e-6f * std::fabs(want[i]) : 0.0f) << x[i];
    if (onnx_int8_pair(input)) {
      EXPECT_EQ(rounded(input, x, true), want);
    }
  }
}

TEST_P(OnnxInput, ComesBackFromAFile) {
  const TestFolder folder;
  for (const char* type : {"", "int8"})
    for (const int64_t group : {0, 32}) {
      const Artifact artifact = coded_artifact(int_format(8, group), GetParam());
      const std::string path = fmt::format("{}/{}_{}", folder.path(), type, group);
      write_llama_onnx(FileSystem::real(), artifact, type, path);
      EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
      const Artifact read = read_artifact(path);
      EXPECT_EQ(read.metadata, artifact.metadata);
      for (const ArtifactWeight& weight : artifact.weights)
        EXPECT_EQ(read.weight(weight.name).input, weight.input) << weight.name;
      for (const InspectTensor& tensor : inspect_file(path).tensors)
        if (tensor.name == kDown) {
          EXPECT_EQ(tensor.input, to_string(GetParam()));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Formats, OnnxInput, ::testing::ValuesIn(kKnown),
                         [](const auto& test) { return test_name(to_string(test.param)); });

std::map<std::string, int> operators(const Artifact& artifact, const char* type) {
  const TestFolder folder;
  write_llama_onnx(FileSystem::real(), artifact, type, folder / "m");
  std::map<std::string, int> count;
  const OnnxFile file(folder / "m/model.onnx");
  for (const OnnxNode& node : file.nodes()) ++count[node.op];
  return count;
}

// The graph has nothing for them: they stay a warning.
TEST(OnnxInputs, Fp4IsLeftToTheWarning) {
  const InputFormat alone{.bits = 4, .rule = ScaleRule::rms, .grid = "fp4"};
  for (const InputFormat& input : {alone, nvfp4_input(kInputGlobal), mxfp4_input()}) {
    EXPECT_FALSE(onnx_rounds(input)) << to_string(input);
    EXPECT_FALSE(onnx_int8_pair(input)) << to_string(input);
  }
}

// Four inputs a layer, of which that of q, k and v, and that of gate and up, serve several.
TEST(OnnxInputs, OneInt8ScaleIsAPairThatAnIntegerProductCanUse) {
  const Artifact rows = coded_artifact(int_format(8, 0), kStatic);
  auto count = operators(rows, "int8");
  EXPECT_EQ(count["QuantizeLinear"], 8);
  EXPECT_EQ(count["DequantizeLinear"], 8 + 14);
  EXPECT_EQ(count["Round"], 0);
  const Artifact groups = coded_artifact(int_format(8, 32), kStatic);
  EXPECT_EQ(operators(groups, "")["QuantizeLinear"], 8);
  // ONNX Runtime's integer product would take scales of groups for those of outputs, and has to be
  // everywhere or nowhere.
  const Artifact mixed = coded_artifact([](const std::string& name) {
    return CodedLayer{int_format(8, 0), name == kDown ? InputFormat{} : kStatic};
  });
  for (const Artifact& artifact : {groups, mixed}) {
    count = operators(artifact, "int8");
    EXPECT_EQ(count["QuantizeLinear"], 0);
    EXPECT_EQ(count["Round"], 8);
  }
}

TEST(OnnxInputs, GenAiSumsInt8ProductsWithoutSaturation) {
  const TestFolder folder;
  const auto options = [&](const CodeFormat& format, const char* name) {
    write_llama_onnx(FileSystem::real(), coded_artifact(format, kStatic), "int8", folder / name);
    const auto config = nlohmann::json::parse(read_text(folder / name + "/genai_config.json"));
    return config["model"]["decoder"]["session_options"];
  };
  const char* key = "session.x64quantprecision";
  EXPECT_EQ(options(int_format(8, 0), "rows")[key], "1");
  EXPECT_FALSE(options(int_format(8, 32), "groups").contains(key));
}

TEST(OnnxInputs, WhatTheGraphCannotDoIsSaid) {
  const FormatRow& row = format_row(resolve_format("onnx"));
  for (const InputFormat& input : {InputFormat{.bits = 4, .rule = ScaleRule::rms, .grid = "fp4"},
                                   InputFormat{.bits = 8, .rule = ScaleRule::signed_max}}) {
    const TestFolder folder;
    const Artifact artifact = coded_artifact(int_format(4), input);
    EXPECT_FALSE(as_stored(artifact, row).rounds_inputs());
    EXPECT_THAT(row.warnings(artifact), Contains(HasSubstr(to_string(input))));
    write_llama_onnx(FileSystem::real(), artifact, "", folder / "m");
    EXPECT_FALSE(read_artifact(folder / "m").rounds_inputs());
    EXPECT_THAT(verify_file(folder / "m", artifact).different, IsEmpty());
  }
  const Artifact known = coded_artifact(int_format(4), InputFormat{});
  EXPECT_TRUE(as_stored(known, row).rounds_inputs());
  EXPECT_THAT(row.warnings(known), Not(Contains(HasSubstr("unrounded"))));
}

TEST(OnnxInputs, OfDenseWeightsAndATiedHead) {
  const TestFolder folder;
  for (const char* dtype : {"f32", "bf16"}) {
    SampleOptions options;
    options.weights = dtype;
    options.shape.tie = true;
    Artifact artifact = sample_artifact(options);
    artifact.act_bits = 4;
    for (ArtifactWeight& weight : artifact.weights)
      if (weight.shape.size() == 2) weight.input = InputFormat{.bits = 4};
    const std::string path = folder / dtype;
    write_llama_onnx(FileSystem::real(), artifact, "", path);
    EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
    const Artifact read = read_artifact(path);
    for (const ArtifactWeight& weight : artifact.weights)
      EXPECT_EQ(read.weight(weight.name).input, weight.input) << weight.name;
  }
}

TEST(OnnxInputs, VerifyComparesThem) {
  const TestFolder folder;
  Artifact artifact = coded_artifact(int_format(8, 0), kStatic);
  write_llama_onnx(FileSystem::real(), artifact, "int8", folder / "m");
  for (ArtifactWeight& weight : artifact.weights)
    if (weight.name == kDown) weight.input->scale = 0.06f;
  EXPECT_EQ(verify_file(folder / "m", artifact).different, std::vector<std::string>{kDown});
}

// A text or a number that someone changed: the graph must do what the metadata say.
TEST(OnnxInputs, NodesMustComputeWhatIsSaid) {
  const TestFolder folder;
  write_llama_onnx(FileSystem::real(), coded_artifact(int_format(4), InputFormat{.bits = 4}), "",
                   folder / "m");
  const std::string whole = read_text(folder / "m/model.onnx");
  const auto refusal = [](const std::string& bytes) {
    try {
      import_onnx(std::make_shared<const OnnxFile>(std::as_bytes(std::span(bytes)), "changed"));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::invalid_file);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal(whole), "");
  const std::string format = "int_signed b4 absmax", name = "inputs.int_signed_b4_absmax.";
  for (const char* other : {"int_signed b8 absmax", "half_int_ b4 absmax"}) {
    std::string text = whole;
    text.replace(text.find(format), format.size(), other);
    EXPECT_NE(refusal(text), "") << other;
  }
  for (const char* part : {"step", "least", "code_min", "code_max"}) {
    std::string number = whole;
    const size_t at = number.rfind(name + part) + name.size() + std::strlen(part) + 2;
    number[at + 3] = static_cast<char>(number[at + 3] ^ 1);
    EXPECT_THAT(refusal(number), HasSubstr(name + part));
  }
  std::string node = whole;  // the nodes come before the text of any initializer
  node.replace(node.find("ReduceMax"), 9, "ReduceMin");
  EXPECT_THAT(refusal(node), HasSubstr("ReduceMax"));
}

}  // namespace
}  // namespace terse
