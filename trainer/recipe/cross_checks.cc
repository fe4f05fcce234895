#include "trainer/recipe/cross_checks.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "export/formats.h"
#include "optim/pairing.h"
#include "optim/zero_one_schedule.h"
#include "qat/plan.h"

namespace terse {
namespace {

void check_batch(const Recipe& recipe, Keys& keys) {
  const int64_t context = recipe.model.targets();
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

// Before anything is compressed; 0 where only the run will tell.
int64_t dense_steps(const OptimOptions& optim, int64_t steps) {
  if (optim.name == "onebit_adam") return optim.freeze;
  if (optim.name != "zero_one_adam") return 0;
  // Refreshes of the variance one after another, then gaps between them.
  return std::min(ZeroOneSchedule::from(optim, steps).freeze, optim.refresh_doubling + 1);
}

void check_steps(const Recipe& recipe, Keys& keys) {
  const int64_t steps = recipe.train.steps;
  if (recipe.optim.warmup >= steps)
    keys.problem("warmup", fmt::format("{} steps are not fewer than [train] steps = {}",
                                       recipe.optim.warmup, steps));
  if (!recipe.exchange.compressed()) return;
  if (dense_steps(recipe.optim, steps) >= steps)
    keys.problem("freeze", fmt::format("compression would begin after step {}, but [train] steps = "
                                       "{}: nothing would be compressed",
                                       dense_steps(recipe.optim, steps), steps));
}

void check_pairing(const Recipe& recipe, Keys& keys) {
  for (const auto& [key, problem] : pairing_problems(recipe.optim, recipe.exchange))
    keys.problem(key, problem);
}

void check_data(const Recipe& recipe, Keys& keys) {
  if (!recipe.model.images()) return;
  if (!recipe.data.text.empty())
    keys.problem("text",
                 "[model] kind = \"vit\" learns from images; leave the key out and write "
                 "them into dir, for instance with scripts/digits");
}

// The tokenizer decides the model's vocabulary.
void check_vocabulary(const Recipe& recipe, Keys& keys) {
  const int64_t model = recipe.model.llama.vocab, data = recipe.data.vocab;
  if (model == 0 || !recipe.data.tokenizer.empty() || recipe.data.text.empty() || model == data)
    return;
  keys.problem("vocab", fmt::format("{} is not [data] vocab = {}, the pieces of the tokenizer that "
                                    "is trained; leave it out (0) or make them equal",
                                    model, data));
}

// Tries `plan(name, columns)` on a layer of each number of inputs.
template <typename Plan>
void check_layers(const Recipe& recipe, Keys& keys, const char* key, const Plan& plan) {
  const bool vit = recipe.model.images();
  const std::pair<const char*, int64_t> layers[] = {
      {vit ? "blocks.0.attn.qkv.weight" : "model.layers.0.self_attn.qkv_proj.weight",
       recipe.model.llama.width},
      {vit ? "blocks.0.mlp.fc2.weight" : "model.layers.0.mlp.down_proj.weight",
       recipe.model.llama.hidden},
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
  if (sparsity.dense == kUntilFrozen && recipe.optim.variance_steps == 0)
    keys.problem("dense",
                 "-1 waits for the variance to be fixed, and [optim] variance_steps = 0 "
                 "never fixes it; set it to -1, too, or to a number of steps");
  if (sparsity.dense + fine > steps)
    keys.problem("dense", fmt::format("{} dense and {} fine steps are more than [train] steps = {}",
                                      sparsity.dense, fine, steps));
}

void check_format(const Recipe& recipe, Keys& keys) {
  if (recipe.export_.format.empty()) return;
  try {
    const ExportFormat format = resolve_format(recipe.export_.format);
    if (recipe.model.images() && !format_row(format).any_model)
      keys.problem("format", fmt::format("{} holds Llamas; possible for [model] kind = \"vit\": "
                                         "safetensors",
                                         format.name()));
  } catch (const Error& error) {
    keys.problem("format", error.what());
  }
}

}  // namespace

void check_together(const Recipe& recipe, const KeysOf& keys) {
  check_batch(recipe, keys("train"));
  check_steps(recipe, keys("optim"));
  check_pairing(recipe, keys("exchange"));
  check_data(recipe, keys("data"));
  check_vocabulary(recipe, keys("model"));
  check_grid(recipe, keys("qat"));
  check_sparsity(recipe, keys("sparsity"));
  check_format(recipe, keys("export"));
}

}  // namespace terse
