// From the recipe's [exchange] table to the codec that does the work. Free of torch.
#pragma once
#include <cstdint>
#include <memory>

#include "comm/codec/codec.h"
#include "comm/exchange_options.h"

namespace terse {

// Of options.worker(), which is onebit, bits or topk.
std::unique_ptr<Codec> make_codec(const ExchangeOptions& options);

// Whether messages go from everybody to everybody (comm/gather_exchange.h) instead of through
// their owners (comm/two_stage_exchange.h).
bool one_stage(const ExchangeOptions& options, int64_t ranks);

}  // namespace terse
