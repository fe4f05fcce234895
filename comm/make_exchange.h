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
std::unique_ptr<Exchange> make_exchange(Group group, const ExchangeOptions& options,
                                        at::Device device = at::kCPU);

// The exchange of dense phases: options.codec itself if it is dense, else options.dense.
std::unique_ptr<Exchange> make_dense_exchange(Group group, const ExchangeOptions& options,
                                              at::Device device = at::kCPU);

}  // namespace terse
