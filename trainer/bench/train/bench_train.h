// `terse bench train`: tokens per second of whole training steps (forward, backward, clipping,
// AdamW, new compute weights) of terse in bf16 and in W4A4, and of plain PyTorch in a child
// process.
//
// The contenders take turns in every round on the same cores, with the same allocator settings; a
// ratio is the median over rounds of the round's ratio. Needs an otherwise idle machine. --quick
// takes about 40 s; the full bench adds torch.compile, which takes minutes to compile.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "trainer/bench/core/bench_result.h"
#include "trainer/model/llama.h"

namespace terse {

struct BenchTrainOptions {
  LlamaOptions model{.vocab = 4096};
  int64_t batch = 8;  // sequences of model.context tokens
  int threads = 2;
  bool quick = false;
  std::string python;  // that has torch; "" = .venv-peers of the source tree
  std::string script;  // "" = tests/peers/torch_llama.py of the source tree
};

// Names: "train.bf16", "train.w4a4", "train.bf16_vs_compile", "torch_eager"; `value` in tokens/s.
// Changes the process's number of threads and allocator settings. Errors: Error(usage) without the
// peers' Python, Error(deadline) when the child does not answer.
std::vector<BenchResult> bench_train(const BenchTrainOptions& options);

}  // namespace terse
