// Evaluation: loss and perplexity of a model on validation examples, and its accuracy if it
// classifies.
//
// Text: a window is the begin token and then `context` tokens, windows back to back; each token is
// predicted from the begin token and those before it in its window. llama.cpp gets the same ids
// (scripts/engine), so the two perplexities are comparable.
#pragma once
#include <cstdint>
#include <functional>

#include "comm/group.h"
#include "trainer/data/examples.h"
#include "trainer/model/model.h"

namespace terse {

struct EvaluateOptions {
  int64_t examples = 0;  // the first so many; 0 = all
  int64_t batch = 8;     // of one forward, if each has 256 targets or more; otherwise more
  // Called before each batch, equally often on all ranks: it may be collective, and may throw to
  // end the evaluation.
  std::function<void()> between;
};

struct Evaluation {
  double loss = 0;        // mean negative log-likelihood of a target, nats
  double perplexity = 0;  // exp(loss)
  double accuracy = -1;   // share of targets that were the likeliest class; -1: not counted
  int64_t tokens = 0;     // targets
};

// Collective: ranks share the examples. The sum runs over examples in their order, in fp64, so the
// result does not depend on the number of ranks.
Evaluation evaluate(Model& model, const Examples& examples, Group group,
                    const EvaluateOptions& options);

}  // namespace terse
