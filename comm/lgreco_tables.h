// What L-GreCo chooses from (comm/lgreco_exchange.h): the parameters of a codec, and for every
// matrix what each of them would lose and send.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "comm/codec/codec.h"
#include "comm/group.h"

namespace terse {

// What may be chosen.
struct LgrecoFamily {
  std::vector<double> parameters;      // ascending
  double reference = 0;                // the uniform one, among them
  std::shared_ptr<const Codec> codec;  // null: low rank

  int64_t reference_index() const;
  // One more than there are parameters: the last is "whole".
  int64_t choices() const { return static_cast<int64_t>(parameters.size()) + 1; }
  double parameter(int64_t choice) const;
  // A grid of bits has no "whole": its last choice would lose more than it claims.
  bool whole_loses() const;
};
LgrecoFamily lgreco_bits(int64_t reference, std::shared_ptr<const Codec> codec);
LgrecoFamily lgreco_topk(double reference, std::shared_ptr<const Codec> codec);
LgrecoFamily lgreco_low_rank(int64_t reference);

// One segment that can be chosen for.
struct LgrecoItem {
  int64_t bucket = 0;
  size_t segment = 0;  // of the bucket
  int64_t choice = 0;  // in use
  Range here;          // the part of the bucket that this rank compresses of it; may be empty
};

struct LgrecoTables {
  std::vector<double> squared_errors;  // [items, choices]
  // [items, choices]: of a message; low rank: of both factors, to their owners and from them
  std::vector<double> bytes;
  std::vector<double> elements;  // [items]: of which this rank knows
};

// `sums[b]`: what was to be compressed of the elements observed[b] of bucket b.
LgrecoTables make_lgreco_tables(const LgrecoFamily& family, const BucketPlan& plan,
                                std::span<const Range> observed, std::span<const LgrecoItem> items,
                                const std::vector<at::Tensor>& sums);

// Collective; the same on all ranks: means over those that compressed a matrix, whole or in parts.
LgrecoTables averaged(Group& group, const BucketPlan& plan, std::span<const LgrecoItem> items,
                      const LgrecoTables& own);

}  // namespace terse
