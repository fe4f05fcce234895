#include "comm/plan/memory.h"

#include <algorithm>

#include "comm/exchange_codec.h"
#include "comm/low_rank.h"

namespace terse {
namespace {

// comm/dense_exchange.h: own chunk from everybody, its mean, all chunks, bf16 the rounded message.
int64_t dense_buffers(int64_t n, int64_t ranks, bool bf16) {
  const int64_t own = chunk_of(n, ranks, 0).size(), width = bf16 ? 2 : 4;
  return width * (n + own * ranks + (bf16 ? n : 0)) + 4 * own;
}

int64_t low_rank_buffers(const ExchangeOptions& options, const Bucket& bucket, int64_t ranks) {
  int64_t p = 0, q = 0;
  for (const Segment& s : bucket.segments) {
    const int64_t rank = useful_rank(s.rows, s.columns, options.rank);
    p += rank > 0 ? rank * s.rows : s.size;
    q += rank * s.columns;
  }
  const int64_t factors = 4 * (p + 2 * q);  // P, Q and the warm Q
  return factors + dense_buffers(p, ranks, false) + dense_buffers(q, ranks, false);
}

// comm/mail.h: to all, from all, own average, everybody's average.
int64_t coded_buffers(const ExchangeOptions& options, const Bucket& bucket, int64_t ranks) {
  const auto codec = make_codec(options);
  if (one_stage(options, ranks)) {
    return codec->bind(bucket, {Range{0, bucket.size}})->bytes(0) * (1 + ranks);
  }
  std::vector<Range> chunks;
  for (int64_t j = 0; j < ranks; ++j) chunks.push_back(chunk_of(bucket.size, ranks, j));
  const auto worker = codec->bind(bucket, chunks);
  int64_t outbox = 0;
  for (int64_t j = 0; j < ranks; ++j) outbox += worker->bytes(j);
  const int64_t own =
      codec->bind(slice_bucket(bucket, chunks[0]), {Range{0, chunks[0].size()}})->bytes(0);
  return outbox + worker->bytes(0) * ranks + own * (1 + ranks) + 4 * chunks[0].size();
}

// Of an element: the worker's error control, with shadows.
int64_t control_width(const ExchangeOptions& options) {
  const int64_t copies = options.feedback == "econtrol" ? 3 : options.feedback == "ef21" ? 2 : 1;
  return 2 * copies * (options.residual == "bf16" ? 2 : 4);
}

}  // namespace

ExchangeMemory exchange_memory(const ExchangeOptions& options, const BucketPlan& plan,
                               int64_t ranks) {
  ExchangeMemory memory;
  int64_t longest = 0;
  const bool lossy = options.compressed(), low_rank = options.worker() == "lowrank";
  for (const Bucket& bucket : plan.buckets) {
    const int64_t n = bucket.size;
    longest = std::max(longest, n);
    memory.weights += 4 * n;
    memory.gradients += 4 * n;
    memory.buffers += dense_buffers(n, ranks, (lossy ? options.dense : options.codec) == "bf16");
    if (!lossy) continue;
    memory.messages += 4 * n;
    memory.residuals += control_width(options) * n;
    if (!low_rank && !one_stage(options, ranks))
      memory.residuals += 8 * chunk_of(n, ranks, 0).size();
    memory.buffers +=
        low_rank ? low_rank_buffers(options, bucket, ranks) : coded_buffers(options, bucket, ranks);
  }
  if (lossy && options.residual == "bf16") memory.residuals += 8 * longest;
  if (lossy && low_rank) memory.buffers += 4 * longest;
  return memory;
}

}  // namespace terse
