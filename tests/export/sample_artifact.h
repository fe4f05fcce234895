// A small random Llama, to write and read back. Everything is drawn from `seed`.
#pragma once
#include <cstdint>
#include <string>

#include "export/artifact.h"

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
  // Layers' matrices: "q4_0", "q8_0", "half_int3" (codes on half integers, 3 bits) or a dense type.
  std::string weights = "q4_0";
  DType dense = DType::bf16;  // embedding and lm_head
  uint64_t seed = 1;
  bool tokenizer = true;  // 259 fixed pieces (unk, bos, eos, bytes), then made-up words
};

// On the grid of `kind` ("q4_0", "q8_0", "half_int3"), with random codes and fp16 scales.
Codes sample_codes(int64_t rows, int64_t columns, const std::string& kind, uint64_t seed);
Artifact sample_artifact(const SampleOptions& options = {});

}  // namespace terse
