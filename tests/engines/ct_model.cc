// Writes a random Llama for the engine tests, in a layout of compressed-tensors and as its dense
// twin.
//
//   ct_model TOKENIZER_MODEL KIND FOLDER      FOLDER/ct and, where inputs are not rotated,
//                                             FOLDER/hf (in fp32: code times scale)
//
// KIND: see layer_of() below.
#include <cstdio>
#include <map>
#include <string>

#include "base/error.h"
#include "export/formats.h"
#include "tests/export/coded_artifact.h"
#include "trainer/data/tokenizer.h"
#include "trainer/tokenizer_data.h"

namespace terse {
namespace {

CodeFormat rotated(CodeFormat format) {
  format.hadamard = 64;
  return format;
}

CodedLayer layer_of(const std::string& kind, const std::string& name) {
  const auto bf16 = ScaleType::bf16;
  const InputFormat a4{.bits = 4}, a8{.bits = 8};
  const std::map<std::string, CodedLayer> kinds = {
      {"w1a16", {int_format(1)}},
      {"w3a16", {int_format(3, 128)}},
      {"w4a16", {int_format(4, 128, bf16)}},
      {"w5a16", {half_int_format(4)}},
      {"w8a16", {int_format(8, 0)}},
      {"w8a8", {int_format(8, 0, bf16), a8}},
      {"w8a8_static", {int_format(8, 0, bf16), InputFormat{.bits = 8, .scale = 0.03125f}}},
      {"w4a8", {int_format(4, 128, bf16), a8}},
      {"w4a4", {int_format(4, 128, bf16), a4}},
      {"w4a4_hadamard", {rotated(int_format(4, 0, bf16)), a4}},
      {"nvfp4", {nvfp4_format()}},
      {"mxfp4", {mxfp4_format()}},
  };
  if (kind == "mixed")
    return name.find("down_proj") != std::string::npos   ? kinds.at("w8a8")
           : name.find("self_attn") != std::string::npos ? kinds.at("w4a16")
           : name.find("layers.0") != std::string::npos  ? kinds.at("w4a8")
                                                         : CodedLayer{};
  const auto found = kinds.find(kind);
  if (found == kinds.end()) fail(ExitCode::usage, "there is no kind \"{}\"", kind);
  return found->second;
}

void write(const std::string& tokenizer, const std::string& kind, const std::string& folder) {
  SampleOptions options;
  options.shape = {.layers = 2,
                   .width = 128,
                   .heads = 4,
                   .kv_heads = 2,
                   .hidden = 256,
                   .context = 128,
                   .vocab = 0,
                   .tie = false,
                   .rope_theta = 10000.0,
                   .norm_eps = 1e-5};
  const TokenizerData data = tokenizer_data(Tokenizer::load(tokenizer));
  options.shape.vocab = static_cast<int64_t>(data.pieces.size());
  Artifact artifact =
      coded_artifact([&](const std::string& name) { return layer_of(kind, name); }, options);
  artifact.tokenizer = data;
  FileSystem& fs = FileSystem::real();
  fs.remove_all(folder + "/ct");
  fs.remove_all(folder + "/hf");
  export_artifact(fs, artifact, resolve_format("compressed-tensors"), folder + "/ct", 150'000);
  if (kind != "w4a4_hadamard") export_artifact(fs, artifact, resolve_format("hf"), folder + "/hf");
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::fprintf(stderr, "ct_model TOKENIZER_MODEL KIND FOLDER\n");
    return 2;
  }
  terse::write(argv[1], argv[2], argv[3]);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "ct_model: %s\n", e.what());
  return 1;
}
