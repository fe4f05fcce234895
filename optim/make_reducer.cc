#include "optim/make_reducer.h"

#include "base/error.h"
#include "comm/make_exchange.h"
#include "optim/pairing.h"

namespace terse {

ExchangeOptions with_candidates(ExchangeOptions exchange, const OptimOptions& optim) {
  if (exchange.codec != "auto" || !exchange.candidates.empty()) return exchange;
  if (optim.name == "onebit_adam")
    exchange.candidates = {exchange.dense, "onebit", "bits"};
  else if (optim.name == "dgc")
    exchange.candidates = {exchange.dense, "topk"};
  else
    exchange.candidates = {"fp32", "bf16"};
  return exchange;
}

Reducer make_reducer(const Group& group, std::vector<Parameter> parameters,
                     const OptimOptions& optim, const ExchangeOptions& options,
                     const ReducerRun& run, const ReducerOptions& reducer) {
  const ExchangeOptions exchange = with_candidates(options, optim);
  for (const auto& [key, problem] : pairing_problems(optim, exchange))
    fail(ExitCode::usage, "[exchange] {}: {}", key, problem);
  const bool lossy = exchange.compressed();
  const auto average = [&] {
    return make_exchange(group, exchange, run.device, run.ranks_per_node);
  };
  return {group,
          std::move(parameters),
          make_optimizer(
              optim, run.steps,
              {.lossy = lossy,
               .ranks = group.size(),
               .density = exchange.density,
               .sparse_below = sparse_break_even(exchange, group.size(), run.ranks_per_node)}),
          lossy ? make_dense_exchange(group, exchange, run.device, run.ranks_per_node) : average(),
          lossy ? average() : nullptr,
          reducer};
}

}  // namespace terse
