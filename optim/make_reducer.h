// From the tables [optim] and [exchange] to a Reducer: the optimizer learns what the exchange will
// do to its messages, and the Reducer gets one exchange for dense and one for compressed phases.
#pragma once
#include <cstdint>
#include <vector>

#include "comm/exchange_options.h"
#include "comm/group.h"
#include "comm/parameter.h"
#include "comm/reducer.h"
#include "optim/options.h"

namespace terse {

// Of the run as a whole.
struct ReducerRun {
  int64_t steps = 1;  // make_optimizer's `total_steps`
  at::Device device = at::kCPU;
  int64_t ranks_per_node = 1;
};

// `exchange` with the candidates of codec = "auto" filled in, unless the recipe has them. Only what
// changes nothing about convergence that the optimizer's name has not asked for already:
//
//   adamw, sgd    fp32, bf16: an average rounded to 8 bits of mantissa, as frameworks send by habit
//   onebit_adam   dense, onebit, bits: compresses its momentum with error feedback in any case, and
//                 bits loses less than onebit
//   dgc           dense, topk: sends the largest of its velocity in any case
ExchangeOptions with_candidates(ExchangeOptions exchange, const OptimOptions& optim);

// Collective. Errors: those of make_optimizer, make_exchange and Reducer; Error(usage) with the
// first of pairing_problems() (optim/pairing.h).
Reducer make_reducer(const Group& group, std::vector<Parameter> parameters,
                     const OptimOptions& optim, const ExchangeOptions& exchange,
                     const ReducerRun& run, const ReducerOptions& options);

}  // namespace terse
