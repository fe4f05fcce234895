// Writes the seeds: small valid files by our own writers. fuzz_seeds FOLDER
#include <cstdio>
#include <string>

#include "base/error.h"
#include "export/formats.h"
#include "tests/export/sample_artifact.h"

namespace terse {
namespace {

void write_seeds(const std::string& folder) {
  FileSystem& fs = FileSystem::real();
  for (const char* kind : {"gguf", "safetensors"})
    fs.make_directories(fmt::format("{}/{}", folder, kind));
  for (const char* weights : {"q4_0", "q8_0", "bf16", "f16", "f32"})
    for (const bool tokenizer : {false, true}) {
      SampleOptions options;
      options.shape = {.layers = 1,
                       .width = 32,
                       .heads = 2,
                       .kv_heads = 1,
                       .hidden = 32,
                       .context = 8,
                       .vocab = tokenizer ? 260 : 4,
                       .tie = tokenizer,
                       .rope_theta = 10000.0,
                       .norm_eps = 1e-5};
      options.weights = weights;
      options.tokenizer = tokenizer;
      const Artifact artifact = sample_artifact(options);
      for (const char* kind : {"gguf", "safetensors"})
        export_artifact(fs, artifact, resolve_format(kind),
                        fmt::format("{}/{}/{}{}", folder, kind, weights, tokenizer ? "_t" : ""));
    }
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) try {
  if (argc != 2) return 2;
  terse::write_seeds(argv[1]);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "fuzz_seeds: %s\n", e.what());
  return 1;
}
