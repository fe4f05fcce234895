// What each exchange costs: bytes by its formulas, computing time by what was measured of it.
//
//   for (const ExchangeChoice& choice : exchange_choices(recipe.exchange)) {
//     const ExchangeSpeed speed = measure_exchange(choice.options, plan, ranks);  //
//     exchange_probe.h const auto costs = exchange_costs(choice.options, plan, ranks, speed);
//     predict(step, costs, link).seconds;
//   }
//
// Bytes that one rank of N sends for a bucket of n elements, and messages a collective (N - 1
// each; comm/plan/link.h has the time):
//
//   dense             2 n (N - 1) / N elements, in two collectives
//   two-stage         m (N - 1) / N + m (N - 1) / N of the coded bucket m, each with N - 1 headers
//   top-k, scatter    the same, and 16 (N - 1) bytes of lengths, in four collectives
//   top-k, gather     (m + 8) (N - 1), in two collectives
//   low rank          two dense averages of the factors, in four collectives
//
// Headers and lengths aside, they grow to a limit with N, but for gather's, which grow on. Exact,
// but for top-k's, whose indices are taken as evenly spread (gradients' are not, and take a little
// less). Pure functions, thread-safe. Free of torch.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "comm/bucket.h"
#include "comm/exchange_options.h"
#include "comm/plan/predict.h"

namespace terse {

// The items of an exchange (round 0 .. R - 1, finish) as measured on one rank, which has nobody to
// send to but works all the same: seconds an element of the bucket.
struct ExchangeSpeed {
  std::vector<Work> items;
  // Top-k, gather: of decoding each further message.
  Work per_message;
};

struct ExchangeChoice {
  std::string name;  // "fp32", "onebit", "bits 4", "topk 0.001", "lowrank 4", ...
  ExchangeOptions options;
};

// What could be asked of the ranks instead of `recipe`, its own settings kept: fp32, bf16, onebit,
// bits 8 and 4 (and the recipe's), topk at its density, lowrank at its rank. Dense ones first.
std::vector<ExchangeChoice> exchange_choices(const ExchangeOptions& recipe);

// By round, what rank 0 (nobody sends more) sends for a bucket.
std::vector<Transfer> exchange_transfers(const ExchangeOptions& options, const Bucket& bucket,
                                         int64_t ranks);

// Of an element: what each item takes on one of `ranks` ranks, where an owner has its share alone.
std::vector<Work> work_per_element(const ExchangeOptions& options, int64_t ranks,
                                   const ExchangeSpeed& speed);

// std::logic_error if `speed` is of an exchange with other rounds.
std::vector<BucketCost> exchange_costs(const ExchangeOptions& options, const BucketPlan& plan,
                                       int64_t ranks, const ExchangeSpeed& speed);

// Bytes of a top-k message with `entries` of `elements` whose indices are evenly spread: the
// shorter of gaps and bitmap (docs/protocol.md), values included, without heads and header.
double sparse_bytes(int64_t entries, int64_t elements, bool bf16_values);

}  // namespace terse
