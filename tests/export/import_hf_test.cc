// Hugging Face folders as others may have written or damaged them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "export/formats.h"
#include "export/import.h"
#include "export/inspect.h"
#include "tests/export/coded_artifact.h"
#include "tests/export/test_files.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

using nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

SampleOptions tiny() {
  SampleOptions options;
  options.shape = tiny_shape(32, 6);
  options.tokenizer = false;
  return options;
}

Artifact tiny_artifact(const CodeFormat& format, std::optional<InputFormat> input = {}) {
  return coded_artifact([&](const std::string&) { return CodedLayer{format, input}; }, tiny());
}

// A written folder whose config.json a test may change as a person with an editor would.
class Folder {
 public:
  explicit Folder(const Artifact& artifact, const std::string& format = "compressed-tensors") {
    export_artifact(FileSystem::real(), artifact, resolve_format(format), path());
  }
  std::string path() const { return folder_ / "out"; }

  std::string read_after(const std::function<void(ordered_json& config)>& change) {
    ordered_json config = ordered_json::parse(read_text(path() + "/config.json"));
    change(config);
    FileSystem::real().remove(path() + "/terse.json");
    write_atomically(FileSystem::real(), path() + "/config.json", config.dump());
    try {
      const Artifact read = read_artifact(path());
      for (const ArtifactWeight& weight : read.weights) effective_values(weight);
      return "";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ExitCode::invalid_file);
      return e.what();
    }
  }

 private:
  TestFolder folder_;
};

ordered_json& group_of(ordered_json& config) {
  return config["quantization_config"]["config_groups"]["group_0"];
}

TEST(ImportHf, EditedConfigSaysSo) {
  Folder folder(tiny_artifact(int_format(4)));
  const std::string path = folder.path() + "/config.json";
  write_atomically(FileSystem::real(), path, read_text(path) + "\n");
  try {
    read_artifact(folder.path());
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("remove terse.json"));
  }
  EXPECT_THAT(inspect_file(folder.path()).checksums, HasSubstr("config.json"));
}

TEST(ImportHf, TargetsMayBePatterns) {
  for (const char* target : {"re:.*", "re:^model\\.layers\\..*", "re:.*_proj$", "Linear"}) {
    Folder folder(tiny_artifact(int_format(4)));
    EXPECT_EQ(folder.read_after([&](auto& config) {
      group_of(config)["targets"] = {target};
      config["quantization_config"]["ignore"] = {"re:.*lm_head"};
    }),
              "");
  }
}

TEST(ImportHf, TheBestMatchDecides) {
  Folder folder(tiny_artifact(int_format(4)));
  EXPECT_EQ(folder.read_after([&](auto& config) {
    ordered_json& groups = config["quantization_config"]["config_groups"];
    ordered_json other = groups["group_0"];
    other["weights"]["num_bits"] = 8;  // nobody's: each layer is named by the first group
    groups["group_1"] = other;
    groups["group_0"]["targets"] = {"re:.*proj"};
  }),
            "");
}

// Each change, and what the message must say.
struct Wrong {
  const char* name;
  std::function<void(ordered_json&)> change;
  const char* says;
};

std::vector<Wrong> wrongs() {
  const auto weights = [](const char* key, const ordered_json& value) {
    return [=](ordered_json& config) { group_of(config)["weights"][key] = value; };
  };
  const auto group = [](const char* key, const ordered_json& value) {
    return [=](ordered_json& config) { group_of(config)[key] = value; };
  };
  const auto top = [](const char* key, const ordered_json& value) {
    return [=](ordered_json& config) { config[key] = value; };
  };
  const auto quantization = [](const char* key, const ordered_json& value) {
    return [=](ordered_json& config) { config["quantization_config"][key] = value; };
  };
  const auto transform = [](ordered_json apply, int64_t block, const char* type = "hadamard") {
    return [=](ordered_json& config) {
      config["quantization_config"]["transform_config"] = {
          {"config_groups", {{"a", {{"type", type}, {"head_dim", block}, {"apply", {apply}}}}}}};
    };
  };
  const ordered_json linear = {{"targets", {"Linear"}}, {"location", "input"}};
  return {
      {"bits", weights("num_bits", 5), "weight_packed"},
      {"no bits", weights("num_bits", 9), "num_bits"},
      {"huge bits", weights("num_bits", UINT64_MAX), "num_bits"},
      {"asymmetric", weights("symmetric", false), "asymmetric"},
      {"symmetric text", weights("symmetric", "yes"), "symmetric"},
      {"group size", weights("group_size", 16), "weight_scale"},
      {"group of nothing", weights("group_size", 0), "group_size"},
      {"odd group", weights("group_size", 33), "no multiple"},
      {"no group", weights("group_size", nullptr), "group_size"},
      {"strategy", weights("strategy", "block"), "strategy"},
      {"float", weights("type", "float"), "pack-quantized"},
      {"format", group("format", "marlin-24"), "marlin-24"},
      {"format number", group("format", 4), "format"},
      {"weights", group("weights", nullptr), "no weights"},
      {"outputs", group("output_activations", {{"num_bits", 8}}), "outputs"},
      {"targets", group("targets", {{"a", 1}}), "targets"},
      {"target numbers", group("targets", {1, 2}), "targets"},
      {"nobody", group("targets", {"Conv1d"}), "no tensor named"},
      {"regular expression", group("targets", {"re:(a|b)+"}), "patterns"},
      {"float inputs", group("input_activations", {{"type", "float"}}), "input_activations"},
      {"group inputs",
       group("input_activations", {{"strategy", "group"}, {"group_size", 32}, {"dynamic", true}}),
       "input_activations"},
      {"eight bits in blocks",
       group("input_activations", {{"type", "float"},
                                   {"num_bits", 8},
                                   {"strategy", "group"},
                                   {"group_size", 32},
                                   {"dynamic", true}}),
       "neither nvfp4 nor mxfp4"},
      {"static blocks",
       group("input_activations", {{"type", "float"},
                                   {"num_bits", 4},
                                   {"strategy", "tensor_group"},
                                   {"group_size", 16},
                                   {"dynamic", false}}),
       "neither nvfp4 nor mxfp4"},
      {"no global scale",
       group("input_activations", {{"type", "float"},
                                   {"num_bits", 4},
                                   {"strategy", "tensor_group"},
                                   {"group_size", 16},
                                   {"dynamic", "local"}}),
       "input_global_scale"},
      {"static inputs", group("input_activations", {{"strategy", "tensor"}}), "input_scale"},
      {"ignored", quantization("ignore", {"Linear"}), "no tensor named"},
      {"method", quantization("quant_method", "gptq"), "quant_method"},
      {"status", quantization("quantization_status", "frozen"), "quantization_status"},
      {"cache", quantization("kv_cache_scheme", {{"num_bits", 8}}), "kv_cache_scheme"},
      {"no object", top("quantization_config", 7), "quantization_config"},
      {"transform", transform(linear, 32, "random-matrix"), "Hadamard"},
      {"transform of weights",
       transform({{"targets", {"Linear"}}, {"location", "weight_input"}}, 32), "input"},
      {"transform block", transform(linear, 24), "power of two"},
      {"transform too wide", transform(linear, 64), "does not divide"},
      {"layers", top("num_hidden_layers", 1000000000), "tensors"},
      {"width", top("hidden_size", 64), "q_proj"},
      {"width of nothing", top("hidden_size", 0), "not possible"},
      {"negative", top("hidden_size", -32), "hidden_size"},
      {"tied", top("tie_word_embeddings", true), "lm_head"},
      {"other model", top("model_type", "mamba"), "mamba"},
  };
}

class WrongConfig : public ::testing::TestWithParam<Wrong> {};

TEST_P(WrongConfig, IsAnErrorThatSaysWhat) {
  Folder folder(tiny_artifact(int_format(4)));
  EXPECT_THAT(folder.read_after(GetParam().change), HasSubstr(GetParam().says));
}

INSTANTIATE_TEST_SUITE_P(Keys, WrongConfig, ::testing::ValuesIn(wrongs()),
                         [](const auto& test) { return test_name(test.param.name); });

// The tensors of a folder changed as one map; checksums go with the rewriting.
std::string read_with(const Artifact& artifact,
                      const std::function<void(std::map<std::string, TensorView>&)>& change) {
  Folder folder(artifact);
  const std::string path = folder.path() + "/model.safetensors";
  {
    const SafetensorsFile file(path);
    std::map<std::string, TensorView> tensors;
    for (const std::string& name : file.names()) tensors[name] = file.require(name);
    change(tensors);
    write_safetensors(FileSystem::real(), path + ".new", tensors);
  }
  FileSystem::real().rename(path + ".new", path);
  return folder.read_after([](ordered_json&) {});
}

const std::string kUp = "model.layers.0.mlp.up_proj.";

TEST(ImportHf, TensorsMustFitTheConfig) {
  const Artifact w4 = tiny_artifact(int_format(4)), nv = tiny_artifact(nvfp4_format());
  EXPECT_EQ(read_with(w4, [](auto&) {}), "");
  EXPECT_THAT(read_with(w4, [](auto& t) { t.erase(kUp + "weight_scale"); }), HasSubstr(kUp));
  EXPECT_THAT(
      read_with(w4, [](auto& t) { t[kUp + "weight_zero_point"] = t[kUp + "weight_shape"]; }),
      HasSubstr("no part of the model"));
  const std::vector<int64_t> shape = {32, 33};
  EXPECT_THAT(read_with(w4,
                        [&](auto& t) {
                          t[kUp + "weight_shape"] = {DType::i64, {2}, bytes_of(shape.data(), 2)};
                        }),
              HasSubstr("weight_shape"));
  EXPECT_THAT(read_with(w4, [](auto& t) { t[kUp + "weight_packed"].dtype = DType::f32; }),
              HasSubstr("F32"));
  const std::vector<uint16_t> infinite(32, 0x7c00);
  EXPECT_THAT(
      read_with(w4,
                [&](auto& t) {
                  t[kUp + "weight_scale"] = {DType::f16, {32, 1}, bytes_of(infinite.data(), 32)};
                }),
      HasSubstr("not finite"));
  for (const float global : {0.0f, -1.0f, INFINITY, 3.0f}) {
    const std::string says = read_with(nv, [&](auto& t) {
      t[kUp + "weight_global_scale"] = {DType::f32, {1}, bytes_of(&global, 1)};
    });
    EXPECT_THAT(says, HasSubstr(global == 3.0f ? "power of two" : "weight_global_scale"));
  }
  const Artifact nvfp4 = tiny_artifact(nvfp4_format(), nvfp4_input(8));
  EXPECT_EQ(read_with(nvfp4, [](auto&) {}), "");
  for (const float global : {0.0f, INFINITY, 3.0f, 0x1p21f}) {
    const std::string says = read_with(nvfp4, [&](auto& t) {
      t[kUp + "input_global_scale"] = {DType::f32, {1}, bytes_of(&global, 1)};
    });
    EXPECT_THAT(says, HasSubstr("input_global_scale"));
  }
  const std::vector<std::byte> nan(64, std::byte{0x7f});
  EXPECT_THAT(read_with(nv,
                        [&](auto& t) {
                          t[kUp + "weight_scale"] = {DType::f8_e4m3, {32, 2}, nan};
                        }),
              HasSubstr("not finite"));
}

// The words: every single-byte flip of a small file is detected or decodes to the same.
void flip_everything(const Artifact& artifact, int64_t shard_bytes) {
  const TestFolder folder;
  const std::string path = folder / "out";
  export_artifact(FileSystem::real(), artifact, resolve_format("compressed-tensors"), path,
                  shard_bytes);
  for (const std::string& name : FileSystem::real().list(path)) {
    const std::string file = fmt::format("{}/{}", path, name);
    const std::string good = read_text(file);
    std::string bad = good;
    for (size_t at = 0; at < good.size(); ++at) {
      bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
      FileSystem::real().create(file)->append(std::as_bytes(std::span(bad)));
      try {
        EXPECT_THAT(verify_file(path, artifact).different, IsEmpty()) << name << " byte " << at;
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ExitCode::invalid_file);
      }
      bad[at] = good[at];
    }
    FileSystem::real().create(file)->append(std::as_bytes(std::span(good)));
  }
}

TEST(ImportHf, EveryFlippedByteIsSeenSlow) {
  flip_everything(tiny_artifact(int_format(4), InputFormat{.bits = 8, .scale = 0.5f}), 0);
  flip_everything(tiny_artifact(nvfp4_format(), nvfp4_input(8)), 4000);
}

TEST(ImportHf, IndexAndShardsMustAgree) {
  const TestFolder folder;
  const std::string path = folder / "out", index = path + "/model.safetensors.index.json";
  export_artifact(FileSystem::real(), tiny_artifact(int_format(4)),
                  resolve_format("compressed-tensors"), path, 4000);
  const std::string good = read_text(index);
  const auto with = [&](const std::string& text) -> std::string {
    write_atomically(FileSystem::real(), index, text);
    try {
      read_artifact(path);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(with(good), "");
  ordered_json json = ordered_json::parse(good);
  json["weight_map"]["more"] = "model-00001-of-00002.safetensors";
  EXPECT_NE(with(json.dump()), "");
  json["weight_map"]["more"] = "../../secret.safetensors";
  EXPECT_THAT(with(json.dump()), HasSubstr("file of this folder"));
  json["weight_map"]["more"] = 5;
  EXPECT_THAT(with(json.dump()), HasSubstr("weight_map"));
  json = ordered_json::parse(good);
  json["weight_map"].erase("lm_head.weight");
  EXPECT_THAT(with(json.dump()), HasSubstr("in the index"));
  EXPECT_THAT(with("{}"), HasSubstr("names no tensor"));
  EXPECT_THAT(with("{\"weight_map\":"), HasSubstr("JSON"));
}

}  // namespace
}  // namespace terse
