// ONNX models written and read back; tests/engines/onnx_test.py has the engine's own view.
#include "export/onnx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "export/formats.h"
#include "export/import.h"
#include "export/import_onnx.h"
#include "export/inspect.h"
#include "export/llama_onnx.h"
#include "export/onnx_pack.h"
#include "tests/export/sample_artifact.h"
#include "tests/export/test_files.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::vector<float> kValues = {1.0f, -2.0f, 0.5f, 3.0f, 4.0f, 5.0f};

std::vector<float> values_of(const OnnxTensor& tensor) {
  std::vector<float> values(tensor.data.size() / sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), values.size() * sizeof(float));
  return values;
}

OnnxModel small_model() {
  OnnxModel model;
  model.nodes = {
      {"Add", {"x", "w"}, {"y"}, {{"axis", int64_t{-1}}, {"scale", 0.5f}}, "some", "n"},
      {"Transpose", {"w"}, {"t"}, {{"perm", std::vector<int64_t>{1, 0}}, {"s", "text"}}}};
  model.inputs = {{"x", OnnxType::f32, {"rows", 3}}};
  model.outputs = {{"y", OnnxType::f32, {"rows", 3}}};
  const TensorView view = {DType::f32, {2, 3}, std::as_bytes(std::span(kValues))};
  model.initializers = {{"w", OnnxType::f32, {2, 3}, source_of(view)}};
  model.metadata = {{"key", "value"}};
  model.opsets = {{"", 21}};
  return model;
}

std::string bytes_of_model(const TestFolder& folder) {
  write_onnx(FileSystem::real(), folder / "small.onnx", small_model(), 1 << 20);
  return read_text(folder / "small.onnx");
}

std::span<const std::byte> as_span(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST(Onnx, ComesBack) {
  const TestFolder folder;
  const std::string bytes = bytes_of_model(folder);
  const OnnxFile file(as_span(bytes), "small");
  file.verify_checksums();
  EXPECT_EQ(file.metadata().at("key"), "value");
  ASSERT_EQ(file.nodes().size(), 2u);
  const OnnxNode& node = file.nodes()[0];
  EXPECT_EQ(node.op, "Add");
  EXPECT_EQ(node.domain, "some");
  EXPECT_EQ(node.inputs, (std::vector<std::string>{"x", "w"}));
  EXPECT_EQ(std::get<int64_t>(node.attributes.at("axis")), -1);
  EXPECT_EQ(std::get<float>(node.attributes.at("scale")), 0.5f);
  EXPECT_EQ(std::get<std::string>(file.nodes()[1].attributes.at("s")), "text");
  EXPECT_EQ(std::get<std::vector<int64_t>>(file.nodes()[1].attributes.at("perm")),
            (std::vector<int64_t>{1, 0}));
  const OnnxTensor& w = *file.find("w");
  EXPECT_EQ(w.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(values_of(w), kValues);
}

TEST(Onnx, TruncationsAndFlipsAreErrorsOrHarmless) {
  const TestFolder folder;
  const std::string whole = bytes_of_model(folder);
  for (size_t n = 0; n < whole.size(); ++n) {
    try {
      const OnnxFile cut(as_span(whole).first(n), "cut");
      EXPECT_FALSE(cut.has_checksums()) << n;  // only the last property may be missing
      EXPECT_NE(cut.find("w"), nullptr);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::invalid_file);
    }
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    std::string damaged = whole;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x05);
    try {
      const OnnxFile file(as_span(damaged), "flip");
      file.verify_checksums(false);
      EXPECT_FALSE(file.has_checksums()) << i << ": " << whole.substr(i > 8 ? i - 8 : 0, 16);
      EXPECT_EQ(values_of(*file.find("w")), kValues) << i;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::invalid_file);
    }
  }
}

TEST(Onnx, ExternalDataStayBesideTheModel) {
  const TestFolder folder;
  OnnxModel model = small_model();
  const std::vector<float> many(1000, 2.5f);
  model.initializers.push_back({"v",
                                OnnxType::f32,
                                {1000},
                                source_of({DType::f32, {1000}, std::as_bytes(std::span(many))})});
  write_onnx(FileSystem::real(), folder / "m.onnx", model, 100);
  {
    const OnnxFile file(folder / "m.onnx");
    file.verify_checksums();
    EXPECT_EQ(file.find("v")->data.size(), 4000u);
    EXPECT_EQ(read_text(folder / "m.onnx.data").size(), 4000u);  // "w" is small
  }
  const std::string model_bytes = read_text(folder / "m.onnx");
  EXPECT_THROW(OnnxFile(as_span(model_bytes), "memory"), Error);  // no file to look beside
  std::string other = model_bytes;
  other.replace(other.find("m.onnx.data"), 11, "../nnx.data");
  write_atomically(FileSystem::real(), folder / "other.onnx", other);
  EXPECT_THROW(OnnxFile(folder / "other.onnx"), Error);
  write_atomically(FileSystem::real(), folder / "m.onnx.data", std::string(3999, 'x'));
  EXPECT_THROW(OnnxFile(folder / "m.onnx"), Error);
}

struct Case {
  const char* weights;
  const char* pattern;
  const char* type;
};

Artifact sample(const Case& c, bool tie = false) {
  SampleOptions options;
  options.weights = c.weights;
  options.pattern = c.pattern;
  options.shape.tie = tie;
  return sample_artifact(options);
}

class OnnxModelOf : public ::testing::TestWithParam<Case> {};

TEST_P(OnnxModelOf, ComesBackAsItWas) {
  const TestFolder folder;
  for (const bool tie : {false, true})
    for (const int64_t limit : {int64_t{0}, kOnnxInlineLimit}) {
      const Artifact artifact = sample(GetParam(), tie);
      const std::string path = fmt::format("{}/{}_{}", folder.path(), tie, limit);
      write_llama_onnx(FileSystem::real(), artifact, GetParam().type, path, limit);
      EXPECT_EQ(FileSystem::real().exists(path + "/model.onnx.data"), limit == 0);
      EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
      const Artifact read = read_artifact(path);
      EXPECT_EQ(read.shape, artifact.shape);
      EXPECT_EQ(read.metadata, artifact.metadata);
      const Inspection in = inspect_file(path);
      EXPECT_EQ(in.checksums, "ok");
      EXPECT_THAT(to_text(in), HasSubstr("nodes.GroupQueryAttention = 2"));
    }
}

INSTANTIATE_TEST_SUITE_P(
    Models, OnnxModelOf,
    ::testing::Values(Case{"bf16", "", ""}, Case{"f16", "", ""}, Case{"f32", "", ""},
                      Case{"q4_0", "", ""}, Case{"q4_0", "", "int4"}, Case{"q8_0", "", ""},
                      Case{"q8_0", "", "int8"}, Case{"q4_0", "", "int8"}, Case{"half_int3", "", ""},
                      Case{"half_int3", "2:4", "int4"}, Case{"q8_0", "2:4", "int8"}),
    [](const auto& test) {
      const Case& c = test.param;
      return test_name(fmt::format("{} {} {}", c.weights, c.pattern, c.type));
    });

Codes tiny_codes(CodeFormat format, int64_t rows, int64_t columns) {
  Codes codes;
  codes.format = std::move(format);
  codes.rows = rows;
  codes.columns = columns;
  const int span = codes.format.code_max - codes.format.code_min + 1;
  for (int64_t i = 0; i < rows * columns; ++i)
    codes.codes.push_back(static_cast<int8_t>(codes.format.code_min + i * 7 % span));
  for (int64_t i = 0; i < codes.scale_count(); ++i)
    codes.scales.push_back(0.5f + static_cast<float>(i));
  return codes;
}

std::vector<uint8_t> packed(const Codes& codes, const OnnxPacking& packing) {
  std::vector<uint8_t> out;
  onnx_pack_codes(codes, packing, [&](std::span<const std::byte> bytes) {
    for (const std::byte b : bytes) out.push_back(std::to_integer<uint8_t>(b));
  });
  return out;
}

// ONNX Runtime's layout by hand: element 2i in the low nibble, 2i + 1 in the high one, plus 8.
TEST(OnnxPack, NibblesAndPairs) {
  const Codes four = tiny_codes({"int_signed", 4, -8, 7, 0.0f, 16, ScaleType::f32, 0}, 1, 16);
  const OnnxPacking p4 = onnx_packing(four.format, "", 16);
  EXPECT_EQ(p4.bits, 4);
  EXPECT_FALSE(p4.writes_zero_points());
  // codes -8, -1, 6, -3, ...: numbers 0, 7, 14, 5
  EXPECT_EQ(packed(four, p4)[0], 0x70);
  EXPECT_EQ(packed(four, p4)[1], 0x5e);
  const Codes ternary = tiny_codes({"ternary", 2, -1, 1, 0.0f, 16, ScaleType::f32, 0}, 1, 16);
  const OnnxPacking p2 = onnx_packing(ternary.format, "", 16);
  EXPECT_EQ(p2.bits, 2);
  // codes -1, 0, 1, -1: numbers 1, 2, 3, 1
  EXPECT_EQ(packed(ternary, p2)[0], 0b01111001);
}

TEST(OnnxPack, ZeroPointsWhereTheRangeIsShifted) {
  CodeFormat format{"int_signed", 4, 0, 15, 0.0f, 16, ScaleType::f32, 0};
  const OnnxPacking packing = onnx_packing(format, "int4", 32);
  EXPECT_TRUE(packing.writes_zero_points());
  EXPECT_EQ(packing.zero_point, 0);
}

TEST(OnnxPack, RowsThatNoBlockDividesAreFilledUp) {
  const Codes codes = tiny_codes({"int_signed", 4, -8, 7, 0.0f, 0, ScaleType::f32, 0}, 3, 40);
  const OnnxPacking packing = onnx_packing(codes.format, "", 40);
  EXPECT_EQ(packing.block, 32);
  EXPECT_EQ(onnx_blocks(packing, 40), 2);
  const auto bytes = packed(codes, packing);
  EXPECT_EQ(bytes.size(), 3u * 32);
  EXPECT_EQ(bytes[20], 0x88);  // columns 40 and 41: the zero point
}

TEST(OnnxPack, WhatDoesNotFitSaysWhatToDo) {
  const auto reason = [](const CodeFormat& format, const char* type) {
    const Fit fit = onnx_fit(format, type);
    EXPECT_EQ(fit.verdict, Verdict::impossible);
    return fit.reason;
  };
  const auto f32 = ScaleType::f32;
  EXPECT_THAT(reason({"int_signed", 4, -8, 7, 0.0f, 32, f32, 128}, ""), HasSubstr("hadamard = 0"));
  EXPECT_THAT(reason({"int_signed", 4, -8, 7, 0.25f, 32, f32, 0}, ""), HasSubstr("int_signed"));
  EXPECT_THAT(reason({"half_int", 4, -8, 7, 0.5f, 32, f32, 0}, "int4"), HasSubstr("export onnx"));
  EXPECT_THAT(reason({"int_signed", 4, -8, 7, 0.0f, 8, f32, 0}, ""), HasSubstr("multiple of 16"));
  EXPECT_THAT(reason({"half_int", 8, -128, 127, 0.5f, 0, f32, 0}, "int8"), HasSubstr("int8 holds"));
}

TEST(OnnxModel, RefusalsComeBeforeAnyWork) {
  const TestFolder folder;
  const auto refusal = [&](const Artifact& artifact, const char* type) {
    try {
      write_llama_onnx(FileSystem::real(), artifact, type, folder / "no");
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::usage);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(refusal(sample({"bf16", "", ""}), "int4"), HasSubstr("needs codes"));
  SampleOptions odd;
  odd.shape.heads = 8;
  EXPECT_THAT(refusal(sample_artifact(odd), ""), HasSubstr("multiple of 16"));
  EXPECT_FALSE(FileSystem::real().exists(folder / "no"));
}

TEST(OnnxModel, ConfigForGenAi) {
  const TestFolder folder;
  write_llama_onnx(FileSystem::real(), sample({"q4_0", "", ""}), "", folder / "m");
  const auto config = nlohmann::json::parse(read_text(folder / "m/genai_config.json"));
  EXPECT_EQ(config["model"]["type"], "llama");
  EXPECT_EQ(config["model"]["decoder"]["filename"], "model.onnx");
  EXPECT_EQ(config["model"]["decoder"]["num_key_value_heads"], 2);
  const char* exact = "session.qdq_matmulnbits_accuracy_level";
  EXPECT_FALSE(config["model"]["decoder"]["session_options"].contains(exact));
  write_llama_onnx(FileSystem::real(), sample({"q8_0", "", ""}), "int8", folder / "q");
  const auto qdq = nlohmann::json::parse(read_text(folder / "q/genai_config.json"));
  EXPECT_EQ(qdq["model"]["decoder"]["session_options"][exact], "1");
}

TEST(OnnxModel, AnyFailingCallLeavesNothing) {
  const TestFolder folder;
  const Artifact artifact = sample({"q4_0", "", ""});
  expect_nothing_or_all(
      folder, "out",  // no limit: the weights stand in a file of their own
      [&](FileSystem& fs) { write_llama_onnx(fs, artifact, "", folder / "out", 0); },
      [&](const std::string& path) {
        EXPECT_THAT(verify_file(path, artifact).different, IsEmpty());
        EXPECT_TRUE(FileSystem::real().exists(path + "/genai_config.json"));
      });
}

TEST(OnnxModel, VerifyFindsAChangedCode) {
  const TestFolder folder;
  const Artifact artifact = sample({"q4_0", "", ""});
  write_llama_onnx(FileSystem::real(), artifact, "", folder / "m");
  Artifact other = artifact;
  const std::string name = "model.layers.1.mlp.up_proj.weight";
  auto codes = std::make_shared<Codes>(artifact.weight(name).codes());
  codes->codes[777] = static_cast<int8_t>(codes->codes[777] == 0 ? 1 : 0);
  for (ArtifactWeight& weight : other.weights)
    if (weight.name == name) weight = compressed_weight(name, codes);
  EXPECT_EQ(verify_file(folder / "m", other).different, std::vector<std::string>{name});
}

// Other writers may put numbers in typed fields (int32_data, float_data) instead of raw_data.
TEST(OnnxModel, NumbersInTypedFieldsAreAnError) {
  const TestFolder folder;
  for (const char* type : {"int8", ""}) {
    const std::string path = fmt::format("{}/m{}", folder.path(), type);
    write_llama_onnx(FileSystem::real(), sample({"q8_0", "", ""}), type, path);
    const std::string whole = read_text(path + "/model.onnx");
    const OnnxFile file(as_span(whole), "whole");
    for (const OnnxTensor& tensor : file.tensors()) {
      if (tensor.name.find(".mlp.up_proj") == tensor.name.npos) continue;
      std::string moved = whole;
      const auto* begin = reinterpret_cast<const std::byte*>(whole.data());
      auto tag = static_cast<size_t>(tensor.data.data() - begin) - 2;  // and the length's varint
      while (moved[tag] != 0x4a) --tag;
      moved[tag] = 0x2a;  // raw_data to int32_data
      const auto other = std::make_shared<const OnnxFile>(as_span(moved), "moved");
      ASSERT_TRUE(other->find(tensor.name)->data.empty()) << tensor.name;
      EXPECT_THROW(import_onnx(other), Error) << tensor.name;
    }
  }
}

TEST(OnnxModel, BitsThatAreNoneAreAnError) {
  const TestFolder folder;
  write_llama_onnx(FileSystem::real(), sample({"q8_0", "", ""}), "", folder / "m");
  const std::string whole = read_text(folder / "m/model.onnx");
  const std::string key = "terse.act_bits";
  std::string other = whole;
  const size_t value = whole.find(key) + key.size() + 2;  // behind the value's tag and length
  ASSERT_EQ(whole.substr(value, 2), "16");
  for (const char* bits : {"-1", "00", "99", "9e"}) {
    other.replace(value, 2, bits);
    const auto file = std::make_shared<const OnnxFile>(as_span(other), "other");
    EXPECT_THROW(import_onnx(file), Error) << bits;
  }
}

}  // namespace
}  // namespace terse
