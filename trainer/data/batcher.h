// Batches of training windows from a token shard, and validation windows in order.
//
// A window is `begin` (the begin token) followed by `context` consecutive tokens of the shard: the
// model predicts each of them once, from the begin token and those before it. This is what engines
// feed (they put the begin token first), so that training, evaluation and serving see alike.
//
// Training: an epoch visits all windows of the shard once, in an order drawn from (seed, epoch)
// without replacement; the windows of an epoch begin at an offset drawn likewise, so that other
// epochs cut the text elsewhere. The only state is the cursor, the number of windows consumed by
// all ranks together since the start: the global batch at a cursor is the same at any number of
// ranks, and rank r of N takes its r-th N-th. Random access, no memory beyond the batch.
#pragma once
#include <cstdint>
#include <vector>

#include "trainer/data/shard.h"

namespace terse {

// Rows of context + 1 ids.
struct Batch {
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<int64_t> ids;  // [rows, columns]
};

struct BatcherOptions {
  int64_t context = 256;
  int64_t windows = 8;  // of the global batch
  uint64_t seed = 0;
  int64_t begin = 1;  // id of the begin token
  int64_t rank = 0;
  int64_t ranks = 1;
};

class Batcher {
 public:
  // Borrows `shard`. Errors: Error(invalid_file) when the shard is shorter than one window,
  // Error(usage) when the ranks cannot share the batch evenly.
  Batcher(const TokenShard& shard, const BatcherOptions& options);

  int64_t windows_per_epoch() const { return windows_; }
  int64_t cursor() const { return cursor_; }
  void seek(int64_t cursor) { cursor_ = cursor; }
  double epochs() const { return static_cast<double>(cursor_) / static_cast<double>(windows_); }

  // This rank's share of the next global batch; moves the cursor by the whole batch.
  Batch next();
  // Where the shard's tokens of window `index` (counted from the start of training) begin.
  int64_t position(int64_t index) const;

 private:
  int64_t offset(int64_t epoch) const;

  const TokenShard* shard_;
  BatcherOptions options_;
  int64_t windows_ = 0;
  int64_t cursor_ = 0;
};

// How many whole windows of `context` tokens the shard holds, in order from its start. An
// Error(invalid_file) when it holds none.
int64_t validation_windows(const TokenShard& shard, int64_t context);
// Windows [first, first + rows) of them, each behind `begin`.
Batch validation_batch(const TokenShard& shard, int64_t context, int64_t first, int64_t rows,
                       int64_t begin);

// A permutation of [0, n) drawn from `seed`, evaluated at i: a four-round Feistel network on the
// next power of four with cycle walking. Expected cost below four evaluations of 4 multiplications.
int64_t permuted(int64_t i, int64_t n, uint64_t seed);

}  // namespace terse
