// A small random Llama, to write and read back. Everything is drawn from `seed`.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "export/artifact.h"
#include "export/gguf_pack.h"

namespace terse {

struct SampleOptions {
  LlamaShape shape = {.layers = 2,
                      .width = 64,
                      .heads = 4,
                      .kv_heads = 2,
                      .hidden = 96,
                      .context = 64,
                      .vocab = 300,
                      .tie = false,
                      .rope_theta = 10000.0,
                      .norm_eps = 1e-5};
  // Layers' matrices: one of sample_kinds() or a dense type ("f32", "f16", "bf16").
  std::string weights = "q4_0";
  std::string pattern = "";   // of a mask over the layers' matrices, by magnitude of the values
  DType dense = DType::bf16;  // embedding and lm_head
  uint64_t seed = 1;
  bool tokenizer = true;  // 259 fixed pieces (unk, bos, eos, bytes), then made-up words
};

// One layer of square matrices: small enough to look at every byte.
LlamaShape tiny_shape(int64_t width = 32, int64_t vocab = 4);
// Grids that training can produce, by name: those of GGUF types ("q4_0", ...) and "half_int3".
std::vector<std::string> sample_kinds();
// GGUF's types of codes.
std::vector<GgufPacking> coded_packings();
// The least number of columns that `kind`'s groups and GGUF's blocks of it allow; 1 for dense
// types.
int64_t sample_block(const std::string& kind);
// On the grid of `kind`, with random codes and scales; NVFP4's also with a scale of the tensor.
Codes sample_codes(int64_t rows, int64_t columns, const std::string& kind, uint64_t seed);
Artifact sample_artifact(const SampleOptions& options = {});

}  // namespace terse
