#include "optim/make_reducer.h"

#include "comm/make_exchange.h"

namespace terse {

Reducer make_reducer(const Group& group, std::vector<Parameter> parameters,
                     const OptimOptions& optim, const ExchangeOptions& exchange,
                     const ReducerRun& run, const ReducerOptions& options) {
  const bool lossy = exchange.compressed();
  return {group,
          std::move(parameters),
          make_optimizer(optim, run.steps,
                         {.lossy = lossy,
                          .ranks = group.size(),
                          .density = exchange.density,
                          .sparse_below = sparse_break_even(exchange, group.size())}),
          make_dense_exchange(group, exchange, run.device),
          lossy ? make_exchange(group, exchange, run.device, run.ranks_per_node) : nullptr,
          options};
}

}  // namespace terse
