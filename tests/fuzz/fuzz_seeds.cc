// Writes the seeds: small valid files by our own writers. fuzz_seeds FOLDER
#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "export/formats.h"
#include "export/gguf.h"
#include "export/gguf_pack.h"
#include "export/llama_archive.h"
#include "export/llama_onnx.h"
#include "tests/export/coded_artifact.h"
#include "tests/export/sample_artifact.h"

namespace terse {
namespace {

// Folders hold more than one file: the reader's own is moved out of them.
void write_new_seeds(FileSystem& fs, const Artifact& artifact, SampleOptions options,
                     const std::string& folder, const std::string& name) {
  const std::string other = folder + "/folder";
  const auto take = [&](const Artifact& model, const char* format, const char* file,
                        const std::string& to) {
    export_artifact(fs, model, resolve_format(format), other);
    fs.rename(fmt::format("{}/{}", other, file), fmt::format("{}/{}", folder, to));
    fs.remove_all(other);
  };
  export_artifact(fs, artifact, resolve_format("archive"),
                  fmt::format("{}/archive/{}", folder, name));
  take(artifact, "onnx", kOnnxFile, "onnx/" + name);
  if (options.weights == "q8_0") take(artifact, "onnx:int8", kOnnxFile, "onnx/qdq_" + name);
  options.pattern = "2:4";
  take(sample_artifact(options), "nm", kNmFile, "archive/nm_" + name);
}

void write_seeds(const std::string& folder) {
  FileSystem& fs = FileSystem::real();
  for (const char* kind : {"gguf", "safetensors", "archive", "onnx"})
    fs.make_directories(fmt::format("{}/{}", folder, kind));
  std::vector<std::string> kinds = sample_kinds();
  kinds.insert(kinds.end(), {"bf16", "f16", "f32"});
  for (const std::string& weights : kinds)
    for (const bool tokenizer : {false, true}) {
      const std::string name = fmt::format("{}{}", weights, tokenizer ? "_t" : "");
      SampleOptions options;
      const int64_t block = std::max<int64_t>(sample_block(weights), 32);
      // The fuzzer's inputs are short.
      if (block == 256 || (block > 32 && tokenizer)) continue;
      options.shape = tiny_shape(block, tokenizer ? 260 : 4);
      options.shape.tie = tokenizer;
      options.weights = weights;
      options.tokenizer = tokenizer;
      const Artifact artifact = sample_artifact(options);
      for (const char* kind : {"gguf", "safetensors"})
        export_artifact(fs, artifact, resolve_format(kind),
                        fmt::format("{}/{}/{}", folder, kind, name));
      write_new_seeds(fs, artifact, options, folder, name);
    }
}

// Graphs that round inputs, in each of their ways.
void write_input_seeds(const std::string& folder) {
  FileSystem& fs = FileSystem::real();
  SampleOptions options;
  options.shape = tiny_shape();
  options.tokenizer = false;
  const std::string out = folder + "/folder";
  for (const InputFormat& input :
       {InputFormat{}, InputFormat{.bits = 8, .scale = 0.5f},
        InputFormat{.bits = 4, .rule = ScaleRule::rms, .grid = "half_int"}}) {
    const CodedLayer layer = {int_format(8, 0), input};
    fs.remove_all(out);
    export_artifact(fs, coded_artifact([&](const std::string&) { return layer; }, options),
                    resolve_format("onnx:int8"), out);
    write_atomically(fs, fmt::format("{}/onnx/input_{}_{}", folder, input.grid, input.scale),
                     read_text(fmt::format("{}/{}", out, kOnnxFile)));
  }
  fs.remove_all(out);
}

// config.json, 0, the tensors: what fuzz_hf.cc takes apart. Dense and every layout of
// compressed-tensors.
void write_folder_seeds(const std::string& folder) {
  FileSystem& fs = FileSystem::real();
  fs.make_directories(folder + "/hf");
  CodeFormat rotated = int_format(4);
  rotated.hadamard = 32;
  const std::map<std::string, CodedLayer> layers = {
      {"dense", {}},
      {"w1", {int_format(1)}},
      {"w3", {int_format(3, 0)}},
      {"w4a4", {rotated, InputFormat{.bits = 4}}},
      {"w8a8", {int_format(8, 0), InputFormat{.bits = 8, .scale = 0.5f}}},
      {"nvfp4", {nvfp4_format()}},
      {"mxfp4", {mxfp4_format()}},
      {"nvfp4_inputs", {nvfp4_format(), nvfp4_input(8)}},
      {"mxfp4_inputs", {mxfp4_format(), mxfp4_input()}}};
  SampleOptions options;
  options.shape = tiny_shape();
  options.shape.tie = true;
  options.tokenizer = false;
  for (const auto& [name, layer] : layers) {
    const std::string out = folder + "/folder";
    fs.remove_all(out);
    export_artifact(fs, coded_artifact([&](const std::string&) { return layer; }, options),
                    resolve_format("compressed-tensors"), out);
    std::string seed = read_text(out + "/config.json");
    seed += '\0';
    seed += read_text(out + "/model.safetensors");
    write_atomically(fs, fmt::format("{}/hf/{}", folder, name), seed);
  }
  fs.remove_all(folder + "/folder");
}

// One row of each type's blocks, without a model around it.
void write_block_seeds(const std::string& folder) {
  for (const GgufPacking& packing : gguf_packings()) {
    if (packing.pack == nullptr) continue;
    const Codes codes = sample_codes(1, 256, packing.name, 1);
    write_gguf_file(
        FileSystem::real(), fmt::format("{}/gguf/{}_row", folder, packing.name), {},
        {{"w.weight",
          {1, 256},
          packing.type,
          [&](const ByteSink& sink) { gguf_pack_codes(codes, packing, "w", nullptr, sink); }},
         {"w.scale", {1}, GgufType::f32, [&](const ByteSink& sink) {
            sink(bytes_of(&codes.tensor_scale, 1));
          }}});
  }
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  terse::write_seeds(argv[1]);
  terse::write_block_seeds(argv[1]);
  terse::write_folder_seeds(argv[1]);
  terse::write_input_seeds(argv[1]);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "fuzz_seeds: %s\n", e.what());
  return 1;
}
