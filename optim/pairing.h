// Which optimizers go with which exchanges.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "comm/exchange_options.h"
#include "optim/options.h"

namespace terse {

// Keys of [exchange] that do not go with the optimizer, and why; empty if all do. A run that asks
// for compression and gets none is an error, not a silent fall-back.
std::vector<std::pair<std::string, std::string>> pairing_problems(const OptimOptions& optim,
                                                                  const ExchangeOptions& exchange);

}  // namespace terse
