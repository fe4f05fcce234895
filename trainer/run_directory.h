// The folder of a run:
//
//   recipe.resolved.toml  env.json  tokenizer.model  metrics.jsonl  decisions.jsonl  tb/
//   checkpoints/  layers.json  results.json  report.html  model.gguf (or what [export] asks for)
//
// All ranks see the same folder. It is never overwritten: a new run needs a new folder.
#pragma once
#include <memory>
#include <string>

#include "trainer/checkpoint/checkpoint.h"
#include "trainer/recipe/recipe.h"
#include "trainer/telemetry/run_files.h"

namespace terse {

// Makes the folder of a new run. `wanted` empty: runs/NAME-N, NAME after the recipe's file, N the
// first free number. Error(usage) if `wanted` holds a run already. Returns its path.
std::string create_run(const std::string& wanted, const std::string& recipe_path);

std::string tokenizer_path(const std::string& run);

// Is this path a run's folder?
bool is_run(const std::string& path);

// The recipe that the run was started with. Error(usage) if `run` is no run's folder.
Recipe recipe_of(const std::string& run, const std::vector<std::string>& sets = {});

// The newest checkpoint that verifies. `rejected` gets the reasons why newer ones did not.
// Error(invalid_file) if there is none.
std::shared_ptr<Checkpoint> checkpoint_of(const std::string& run, int64_t rank,
                                          std::vector<std::string>* rejected = nullptr);

}  // namespace terse
