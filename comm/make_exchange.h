// From the recipe's [exchange] table to Exchanges.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>

#include "comm/exchange.h"
#include "comm/exchange_options.h"
#include "comm/group.h"

namespace terse {

// The exchange of `options.codec`. Messages and answers live on `device`. An unknown codec is an
// Error(usage) that names those that exist.
//
//   fp32, bf16     dense (comm/dense_exchange.h)
//   onebit, bits   two-stage (comm/two_stage_exchange.h)
//   topk           sparse = gather: one stage (comm/gather_exchange.h); scatter: two-stage. auto:
//                  gather on 2 ranks, where both send the same and one loss is less than two;
//                  scatter beyond, where gather sends N - 1 copies
//   lowrank        comm/low_rank_exchange.h
//   lgreco         the family's exchange inside comm/lgreco_exchange.h
//   auto           any of its candidates, by bucket: comm/auto_exchange.h
//
// options.hierarchy: any of them between the nodes of `ranks_per_node` ranks each, dense inside
// (comm/hierarchical_exchange.h); with 1, or all ranks on one node, it changes nothing. "Ranks"
// above are then nodes.
std::unique_ptr<Exchange> make_exchange(Group group, const ExchangeOptions& options,
                                        at::Device device = at::kCPU, int64_t ranks_per_node = 1);

// The exchange of dense phases: options.codec itself if it is dense, else options.dense.
std::unique_ptr<Exchange> make_dense_exchange(const Group& group, const ExchangeOptions& options,
                                              at::Device device = at::kCPU,
                                              int64_t ranks_per_node = 1);

// Of codec = "auto" and its candidates, which must be given; with compressed ones the dense one is
// options.dense and comes first. `group` averages, all ranks of the run decide. Error(usage) for a
// GPU: what is measured there would be launches.
std::unique_ptr<Exchange> make_auto_exchange(Group group, const Group& run,
                                             const ExchangeOptions& options,
                                             at::Device device = at::kCPU);

// Of a fixed codec between nodes: `group` has one rank of each, with a slice of its own.
std::unique_ptr<Exchange> make_exchange_between(Group group, const ExchangeOptions& options,
                                                at::Device device = at::kCPU);

// The density of topk from which on it sends more bytes (between nodes, with options.hierarchy)
// than a dense fp32 average would.
double sparse_break_even(const ExchangeOptions& options, int64_t ranks, int64_t ranks_per_node = 1);

}  // namespace terse
