// `terse bench train`: tokens per second of whole training steps (forward, backward, clipping,
// AdamW, new compute weights) of terse in bf16, quantized and with a mask, and of plain PyTorch in
// a child process.
//
// The contenders take turns in every round on the same cores, with the same allocator settings; a
// ratio is the median over rounds of the round's ratio. Needs an otherwise idle machine. --quick
// takes about 40 s; the full bench adds width 640 and torch.compile, which takes minutes to
// compile.
//
//   torch_eager, train.bf16              of each other; "train.bf16_vs_compile" of torch.compile
//   train.w8a8, .w4a4, .nm24             ratio to train.bf16
//   train.bf16_640, .w8a8_640, ...       the same at width 640 (5 heads, hidden 1792); not --quick
//   memory.bf16, .w8a8, .w4a4, .nm24     the most bytes of tensors alive during a step: weights,
//                                        gradients, optimizer, what backward keeps, working memory
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

// The names above; `value` in tokens/s, memory in MB. Changes the process's number of threads and
// allocator settings, and counts tensors' memory from now on. Errors: Error(usage) without the
// peers' Python, Error(deadline) when the child does not answer.
std::vector<BenchResult> bench_train(const BenchTrainOptions& options);

}  // namespace terse
