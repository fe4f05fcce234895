// What a rank keeps in memory for an exchange: sums of the buffers that comm/ allocates.
// Activations are the model's and not in here. Pure functions. Free of torch.
#pragma once
#include <cstdint>

#include "comm/bucket.h"
#include "comm/exchange_options.h"

namespace terse {

// Bytes of one rank of N.
struct ExchangeMemory {
  int64_t weights = 0;    // fp32, the Reducer's buckets
  int64_t gradients = 0;  // fp32
  int64_t messages = 0;   // fp32, of a lossy exchange
  int64_t residuals = 0;  // error feedback with its shadows, worker's and owner's side
  int64_t buffers = 0;    // what travels
  int64_t total() const { return weights + gradients + messages + residuals + buffers; }
};

// Error control and owner's residual as comm/error_control.h and comm/two_stage_exchange.h say,
// buffers as the exchanges bind them (a top-k message: what the worst gaps take). A compressed
// recipe's exchange of dense phases keeps buffers of its own, which count. Hierarchical exchanges:
// as without hierarchy, an upper bound.
ExchangeMemory exchange_memory(const ExchangeOptions& options, const BucketPlan& plan,
                               int64_t ranks);

}  // namespace terse
