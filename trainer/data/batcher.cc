#include "trainer/data/batcher.h"

#include <algorithm>
#include <bit>
#include <span>

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

Batch empty_batch(int64_t rows, int64_t columns) {
  Batch batch{rows, columns, {}};
  batch.ids.resize(static_cast<size_t>(batch.rows * batch.columns));
  return batch;
}

std::span<int64_t> row_of(Batch& batch, int64_t row) {
  return {batch.ids.data() + row * batch.columns, static_cast<size_t>(batch.columns)};
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

Batcher::Batcher(const Examples& examples, const BatcherOptions& options)
    : examples_(&examples), options_(options) {
  if (options.rows % options.ranks != 0)
    fail(ExitCode::usage,
         "{} examples a step cannot be shared evenly by {} ranks: [train] batch_tokens must be a "
         "multiple of {} x ranks = {}",
         options.rows, options.ranks, examples.targets(), examples.targets() * options.ranks);
}

double Batcher::epochs() const {
  return static_cast<double>(cursor_) / static_cast<double>(examples_->count());
}

Batcher::Place Batcher::place(int64_t counted) const {
  const int64_t count = examples_->count(), epoch = counted / count;
  const auto shifts = static_cast<uint64_t>(examples_->shifts());
  return {permuted(counted % count, count, epoch_seed(options_.seed, epoch)),
          static_cast<int64_t>(epoch_seed(~options_.seed, epoch) % shifts)};
}

Batch Batcher::next() {
  Batch batch = empty_batch(options_.rows / options_.ranks, examples_->columns());
  const int64_t first = cursor_ + options_.rank * batch.rows;
  for (int64_t r = 0; r < batch.rows; ++r) {
    const Place at = place(first + r);
    examples_->read(at.index, at.shift, row_of(batch, r));
  }
  cursor_ += options_.rows;
  return batch;
}

Batch read_in_order(const Examples& examples, int64_t first, int64_t rows) {
  Batch batch = empty_batch(rows, examples.columns());
  for (int64_t r = 0; r < rows; ++r) examples.read(first + r, 0, row_of(batch, r));
  return batch;
}

}  // namespace terse
