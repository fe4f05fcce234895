#include "optim/make_reducer.h"

#include "base/error.h"
#include "comm/make_exchange.h"
#include "optim/pairing.h"

namespace terse {

Reducer make_reducer(const Group& group, std::vector<Parameter> parameters,
                     const OptimOptions& optim, const ExchangeOptions& exchange,
                     const ReducerRun& run, const ReducerOptions& options) {
  for (const auto& [key, problem] : pairing_problems(optim, exchange))
    fail(ExitCode::usage, "[exchange] {}: {}", key, problem);
  const bool lossy = exchange.compressed();
  return {group,
          std::move(parameters),
          make_optimizer(
              optim, run.steps,
              {.lossy = lossy,
               .ranks = group.size(),
               .density = exchange.density,
               .sparse_below = sparse_break_even(exchange, group.size(), run.ranks_per_node)}),
          make_dense_exchange(group, exchange, run.device, run.ranks_per_node),
          lossy ? make_exchange(group, exchange, run.device, run.ranks_per_node) : nullptr,
          options};
}

}  // namespace terse
