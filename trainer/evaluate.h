// Evaluation: loss and perplexity of a model on validation windows.
//
// A window is the begin token and then `context` tokens of the text, windows back to back; each
// token is predicted from the begin token and those before it in its window. llama.cpp gets the
// same ids (scripts/engine), so the two perplexities are comparable.
#pragma once
#include <cstdint>
#include <functional>

#include "comm/group.h"
#include "trainer/data/shard.h"
#include "trainer/model/llama.h"

namespace terse {

struct EvaluateOptions {
  int64_t windows = 0;  // the first so many; 0 = all
  int64_t batch = 8;    // windows of one forward
  int64_t begin = 1;    // id of the begin token
  // Called before each batch, equally often on all ranks: it may be collective, and may throw to
  // end the evaluation.
  std::function<void()> between;
};

struct Evaluation {
  double loss = 0;        // mean negative log-likelihood of a token, nats
  double perplexity = 0;  // exp(loss)
  int64_t tokens = 0;
  int64_t windows = 0;
};

// Collective: ranks share the windows. The sum runs over windows in their order, in fp64, so the
// result does not depend on the number of ranks. Error(invalid_file) if the text is shorter than
// one window.
Evaluation evaluate(Llama& model, const TokenShard& shard, Group group,
                    const EvaluateOptions& options);

}  // namespace terse
