#include "trainer/data/batcher.h"

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace terse {
namespace {

// splitmix64's finalizer (Steele, Lea, Flood 2014): every output bit depends on every input bit.
uint64_t mixed(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

uint64_t epoch_seed(uint64_t seed, int64_t epoch) {
  return mixed(mixed(seed) + static_cast<uint64_t>(epoch));
}

void require_window(const TokenShard& shard, int64_t context) {
  if (shard.count() < context)
    fail(ExitCode::invalid_file,
         "{}: {} tokens are too few for one sequence of {}; give more text ([data] text), or a "
         "shorter [model] context",
         shard.path(), shard.count(), context);
}

void read_window(const TokenShard& shard, int64_t position, int64_t begin, int64_t* row,
                 int64_t context) {
  row[0] = begin;
  shard.read(position, {row + 1, static_cast<size_t>(context)});
}

Batch empty_batch(int64_t rows, int64_t context) {
  Batch batch{rows, context + 1, {}};
  batch.ids.resize(static_cast<size_t>(batch.rows * batch.columns));
  return batch;
}

}  // namespace

int64_t permuted(int64_t i, int64_t n, uint64_t seed) {
  TERSE_CHECK(i >= 0 && i < n, "{} of {}", i, n);
  const auto bits = std::max<uint64_t>(1, (std::bit_width(static_cast<uint64_t>(n - 1)) + 1) / 2);
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  auto x = static_cast<uint64_t>(i);
  do {
    uint64_t left = x >> bits;
    uint64_t right = x & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t next = left ^ (mixed(seed ^ mixed(right + (round << 56))) & mask);
      left = right;
      right = next;
    }
    x = left << bits | right;
  } while (x >= static_cast<uint64_t>(n));
  return static_cast<int64_t>(x);
}

Batcher::Batcher(const TokenShard& shard, const BatcherOptions& options)
    : shard_(&shard), options_(options) {
  require_window(shard, options.context);
  if (options.windows % options.ranks != 0)
    fail(ExitCode::usage,
         "{} sequences a step cannot be shared evenly by {} ranks: [train] batch_tokens must be a "
         "multiple of context x ranks = {}",
         options.windows, options.ranks, options.context * options.ranks);
  // One window is given up so that an epoch may begin anywhere within a window's length.
  windows_ = std::max<int64_t>(1, shard.count() / options.context - 1);
}

int64_t Batcher::offset(int64_t epoch) const {
  const int64_t slack = shard_->count() - windows_ * options_.context;
  const int64_t choices = std::min(options_.context, slack + 1);
  return static_cast<int64_t>(epoch_seed(~options_.seed, epoch) % static_cast<uint64_t>(choices));
}

int64_t Batcher::position(int64_t index) const {
  const int64_t epoch = index / windows_;
  const int64_t window = permuted(index % windows_, windows_, epoch_seed(options_.seed, epoch));
  return offset(epoch) + window * options_.context;
}

Batch Batcher::next() {
  const int64_t rows = options_.windows / options_.ranks;
  Batch batch = empty_batch(rows, options_.context);
  const int64_t first = cursor_ + options_.rank * rows;
  for (int64_t r = 0; r < rows; ++r)
    read_window(*shard_, position(first + r), options_.begin, batch.ids.data() + r * batch.columns,
                options_.context);
  cursor_ += options_.windows;
  return batch;
}

int64_t validation_windows(const TokenShard& shard, int64_t context) {
  require_window(shard, context);
  return shard.count() / context;
}

Batch validation_batch(const TokenShard& shard, int64_t context, int64_t first, int64_t rows,
                       int64_t begin) {
  Batch batch = empty_batch(rows, context);
  for (int64_t r = 0; r < rows; ++r)
    read_window(shard, (first + r) * context, begin, batch.ids.data() + r * batch.columns, context);
  return batch;
}

}  // namespace terse
