// Writes a random Llama with a real tokenizer for the engine tests.
//
//   engine_model TEXT TYPE FOLDER      model.gguf, hf/, onnx/ (q8_0: also onnx_int8/) and
//                                      tokenizer.model, trained on TEXT as `terse prepare` does
//   engine_model --ids MODEL TEXTS     JSON: terse's ids of each NUL-terminated text
//
// TYPE: one of sample_kinds() (q4_0, ...), f32, f16 or bf16; with _tied behind it the output matrix
// is the embedding.
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

#include "base/error.h"
#include "export/formats.h"
#include "tests/export/sample_artifact.h"
#include "trainer/data/tokenizer.h"
#include "trainer/tokenizer_data.h"

namespace terse {
namespace {

constexpr int kVocab = 600;

TokenizerData train(const std::string& text) {
  return tokenizer_data(Tokenizer::train({read_text(text)}, kVocab));
}

void write(const std::string& text, std::string type, const std::string& folder) {
  const bool tied = type.ends_with("_tied");
  if (tied) type.resize(type.size() - 5);
  SampleOptions options;
  const int64_t block = sample_block(type);
  options.shape = {.layers = 2,
                   .width = std::max<int64_t>(128, block),
                   .heads = 4,
                   .kv_heads = 2,
                   .hidden = 192 % block == 0 ? 192 : 256,
                   .context = 128,
                   .vocab = kVocab,
                   .tie = tied,
                   .rope_theta = 10000.0,
                   .norm_eps = 1e-5};
  options.weights = type;
  if (type == "f32") options.dense = DType::f32;
  if (type == "f16") options.dense = DType::f16;
  Artifact artifact = sample_artifact(options);
  FileSystem& fs = FileSystem::real();
  artifact.tokenizer = train(text);
  write_atomically(fs, folder + "/tokenizer.model", artifact.tokenizer.model);
  const std::vector<std::string> names = format_names();
  const bool named = std::find(names.begin(), names.end(), "gguf:" + type) != names.end();
  const bool coded = named && sample_block(type) > 1;
  export_artifact(fs, artifact, resolve_format(coded ? "gguf:" + type : "gguf"),
                  folder + "/model.gguf");
  fs.remove_all(folder + "/hf");
  export_artifact(fs, artifact, resolve_format("hf"), folder + "/hf");
  fs.remove_all(folder + "/onnx");
  export_artifact(fs, artifact, resolve_format("onnx"), folder + "/onnx");
  fs.remove_all(folder + "/onnx_int8");
  if (type == "q8_0")
    export_artifact(fs, artifact, resolve_format("onnx:int8"), folder + "/onnx_int8");
}

void print_ids(const std::string& model, const std::string& texts) {
  const Tokenizer tokenizer = Tokenizer::load(model);
  const std::string all = read_text(texts);
  std::string json;
  for (size_t begin = 0; begin < all.size();) {
    const size_t end = all.find('\0', begin);
    const std::vector<int32_t> ids =
        tokenizer.encode(std::string_view(all).substr(begin, end - begin));
    json += fmt::format("{}[{}]", begin == 0 ? "" : ",", fmt::join(ids, ","));
    begin = end + 1;
  }
  std::printf("[%s]\n", json.c_str());
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::fprintf(stderr, "engine_model TEXT TYPE FOLDER | engine_model --ids MODEL TEXTS\n");
    return 2;
  }
  if (std::string_view(argv[1]) == "--ids")
    terse::print_ids(argv[2], argv[3]);
  else
    terse::write(argv[1], argv[2], argv[3]);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "engine_model: %s\n", e.what());
  return 1;
}
