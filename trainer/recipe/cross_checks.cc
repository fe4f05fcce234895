#include "trainer/recipe/cross_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "export/formats.h"
#include "qat/plan.h"

namespace terse {
namespace {

void check_batch(const Recipe& recipe, Keys& keys) {
  const int64_t context = recipe.model.context;
  const auto multiple = [&](const char* key, int64_t tokens) {
    if (tokens % context != 0)
      keys.problem(key,
                   fmt::format("{} is not a multiple of [model] context = {}; the nearest are "
                               "{} and {}",
                               tokens, context, std::max(tokens / context, int64_t{1}) * context,
                               (tokens / context + 1) * context));
  };
  multiple("batch_tokens", recipe.train.batch_tokens);
  multiple("micro_tokens", recipe.train.micro_tokens);
}

void check_steps(const Recipe& recipe, Keys& keys) {
  const int64_t steps = recipe.train.steps;
  if (recipe.optim.warmup >= steps)
    keys.problem("warmup", fmt::format("{} steps are not fewer than [train] steps = {}",
                                       recipe.optim.warmup, steps));
  const bool compresses = recipe.optim.name == "onebit_adam" && recipe.exchange.compressed();
  if (compresses && recipe.optim.freeze >= steps)
    keys.problem("freeze", fmt::format("compression would begin after step {}, but [train] steps = "
                                       "{}: nothing would be compressed",
                                       recipe.optim.freeze, steps));
}

// DGC masks the velocity of what a rank itself has sent, so it must be told what that was.
void check_dgc(const Recipe& recipe, Keys& keys) {
  const std::string& codec = recipe.exchange.codec;
  if (recipe.optim.name == "dgc" && codec != "topk")
    keys.problem("codec",
                 fmt::format("[optim] name = \"dgc\" sends the largest of its velocity and "
                             "needs codec = \"topk\", not \"{}\"",
                             codec));
  if (recipe.optim.name == "dgc" && recipe.exchange.hierarchy)
    keys.problem(
        "hierarchy",
        "does not go with [optim] name = \"dgc\": a node sends what no single rank chose; use "
        "name = \"adamw\", which compresses with error feedback");
  if (recipe.optim.name == "dgc" && recipe.exchange.feedback != "classic")
    keys.problem("feedback", "[optim] name = \"dgc\" accumulates in the residual: classic only");
  if (recipe.optim.name == "sgd" && recipe.exchange.compressed())
    keys.problem("codec", fmt::format("[optim] name = \"sgd\" averages densely, so \"{}\" would "
                                      "compress nothing; use name = \"dgc\" with codec = \"topk\"",
                                      codec));
}

// A recipe that asks for compression and gets none is an error, not a silent fall-back.
void check_compression(const Recipe& recipe, Keys& keys) {
  check_dgc(recipe, keys);
  if (recipe.optim.name != "onebit_adam" || recipe.exchange.compressed()) return;
  keys.problem("codec", fmt::format("[optim] name = \"onebit_adam\" compresses its momentum, but "
                                    "\"{}\" does not; choose codec = \"onebit\", or [optim] name "
                                    "= \"adamw\" for a dense run",
                                    recipe.exchange.codec));
}

// The tokenizer decides the model's vocabulary.
void check_vocabulary(const Recipe& recipe, Keys& keys) {
  const int64_t model = recipe.model.vocab, data = recipe.data.vocab;
  if (model == 0 || !recipe.data.tokenizer.empty() || recipe.data.text.empty() || model == data)
    return;
  keys.problem("vocab", fmt::format("{} is not [data] vocab = {}, the pieces of the tokenizer that "
                                    "is trained; leave it out (0) or make them equal",
                                    model, data));
}

// Tries `plan(name, columns)` on a layer of each number of inputs.
template <typename Plan>
void check_layers(const Recipe& recipe, Keys& keys, const char* key, const Plan& plan) {
  const std::pair<const char*, int64_t> layers[] = {
      {"model.layers.0.self_attn.qkv_proj.weight", recipe.model.width},
      {"model.layers.0.mlp.down_proj.weight", recipe.model.hidden},
  };
  for (const auto& [name, columns] : layers) {
    try {
      plan(name, columns);
    } catch (const Error& error) {
      keys.problem(key, error.what());
    }
  }
}

// Whether the grid and the rotation fit the layers' inputs.
void check_grid(const Recipe& recipe, Keys& keys) {
  if (!recipe.qat.enabled()) return;
  check_layers(recipe, keys, "target", [&](const std::string& name, int64_t columns) {
    plan_layer(recipe.qat, name, columns);
  });
}

void check_sparsity(const Recipe& recipe, Keys& keys) {
  const SparsityOptions& sparsity = recipe.sparsity;
  if (!sparsity.enabled()) return;
  check_layers(recipe, keys, "pattern", [&](const std::string& name, int64_t columns) {
    plan_mask({sparsity, recipe.train.steps}, name, columns);
  });
  const int64_t steps = recipe.train.steps, fine = sparsity.fine_steps(steps);
  if (sparsity.dense + fine > steps)
    keys.problem("dense", fmt::format("{} dense and {} fine steps are more than [train] steps = {}",
                                      sparsity.dense, fine, steps));
}

void check_format(const Recipe& recipe, Keys& keys) {
  if (recipe.export_.format.empty()) return;
  try {
    resolve_format(recipe.export_.format);
  } catch (const Error& error) {
    keys.problem("format", error.what());
  }
}

}  // namespace

void check_together(const Recipe& recipe, const KeysOf& keys) {
  check_batch(recipe, keys("train"));
  check_steps(recipe, keys("optim"));
  check_compression(recipe, keys("exchange"));
  check_vocabulary(recipe, keys("model"));
  check_grid(recipe, keys("qat"));
  check_sparsity(recipe, keys("sparsity"));
  check_format(recipe, keys("export"));
}

}  // namespace terse
