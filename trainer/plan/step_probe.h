// Measures a training step of a recipe without its exchange: when each bucket becomes ready.
#pragma once
#include <cstdint>

#include "comm/bucket.h"
#include "comm/plan/predict.h"
#include "trainer/recipe/recipe.h"

namespace terse {

struct StepProbe {
  BucketPlan plan;     // as the Reducer makes it
  StepModel model;     // cores: the threads that torch has now
  int64_t tokens = 0;  // of the rank's share
};

// Sequences of one of N ranks: its share of [train] batch_tokens, at least one.
int64_t share_of(const Recipe& recipe, int64_t ranks);

// Builds the recipe's model and AdamW and takes `steps` steps (and one to warm up) on random tokens
// with a rank's share of the batch; medians. [optim]'s own optimizer costs about as much.
// [model] vocab = 0 counts as [data] vocab. Memory: the model's, its gradients, 8 bytes a
// parameter.
StepProbe measure_step(const Recipe& recipe, int64_t ranks, int64_t steps);

// The same without a measurement: a third of `seconds` is forward, and buckets become ready in
// proportion to their elements.
StepProbe assumed_step(const Recipe& recipe, int64_t ranks, double seconds);

}  // namespace terse
