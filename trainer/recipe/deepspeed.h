// DeepSpeed's keys, read as terse's own, with a printed line for each.
//
// In a recipe, [optim] takes the names of DeepSpeed's OneBitAdam and ZeroOneAdam:
// - type: [optim] name, and [exchange] codec = "onebit" where that is not said
// - freeze_step, var_freeze_step: [optim] freeze; max_grad_norm: [train] clip
// - var_update_scaler, local_step_scaler, local_step_clipper: [optim] refresh_doubling,
//   local_doubling, local_steps
// - lr, betas, eps, weight_decay are called the same here
// - comm_backend_name, cuda_aware, bias_correction, eps_inside_sqrt, amsgrad have no counterpart:
//   the line says what to do instead
//
// A DeepSpeed configuration file (`terse train RECIPE --deepspeed FILE`) goes over the recipe and
// under
// --set: optimizer, scheduler (WarmupLR, WarmupCosineLR), train_batch_size,
// train_micro_batch_size_per_gpu, gradient_clipping, bf16, steps_per_print. What the file leaves
// out has DeepSpeed's default where the recipe is silent too. Keys without a counterpart are named
// as ignored.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/recipe/document.h"

namespace terse {

// Renames DeepSpeed's keys in [optim]. Returns the lines to print. Problems: a key that is there
// under both names, an optimizer that terse does not have.
std::vector<std::string> translate_deepspeed(Document& document, std::vector<Problem>& problems);

// Puts a configuration file's keys into the document, some under DeepSpeed's names still:
// translate_deepspeed() comes next. `context`: tokens of a sequence where the document has no
// [model] context. Returns the lines to print.
std::vector<std::string> add_deepspeed_config(std::string_view json, const std::string& source,
                                              int64_t context, Document& document,
                                              std::vector<Problem>& problems);

// "0.9", "\"mpi\"", "[0.9, 0.999]": a value as a recipe writes it.
std::string shown(const Value& value);

}  // namespace terse
