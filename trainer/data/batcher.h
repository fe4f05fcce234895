// Batches of examples: for training in an order drawn from a seed, for validation as they come.
//
// An epoch visits all examples once, in an order drawn from (seed, epoch) without replacement; the
// way in which an epoch's examples are cut (Examples::shifts) is drawn likewise. The only state is
// the cursor, the number of examples consumed by all ranks together since the start: the global
// batch at a cursor is the same at any number of ranks, and rank r of N takes its r-th N-th. Random
// access, no memory beyond the batch.
#pragma once
#include <cstdint>
#include <vector>

#include "trainer/data/examples.h"

namespace terse {

struct Batch {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<int64_t> ids;  // [rows, columns]
};

struct BatcherOptions {
  int64_t rows = 8;  // of the global batch
  uint64_t seed = 0;
  int64_t rank = 0;
  int64_t ranks = 1;
};

class Batcher {
 public:
  // Borrows `examples`. Error(usage) when the ranks cannot share the batch evenly.
  Batcher(const Examples& examples, const BatcherOptions& options);

  int64_t cursor() const { return cursor_; }
  void seek(int64_t cursor) { cursor_ = cursor; }
  double epochs() const;

  // This rank's share of the next global batch; moves the cursor by the whole batch.
  Batch next();

  // Of an example counted from the start of training: how Examples::read finds it.
  struct Place {
    int64_t index;
    int64_t shift;
  };
  Place place(int64_t counted) const;

 private:
  const Examples* examples_;
  BatcherOptions options_;
  int64_t cursor_ = 0;
};

// Examples [first, first + rows) in order.
Batch read_in_order(const Examples& examples, int64_t first, int64_t rows);

// A permutation of [0, n) drawn from `seed`, evaluated at i: a four-round Feistel network on the
// next power of four with cycle walking. Expected cost below four evaluations of 4 multiplications.
int64_t permuted(int64_t i, int64_t n, uint64_t seed);

}  // namespace terse
