#include "comm/plan/exchange_costs.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "base/error.h"
#include "comm/codec/topk.h"
#include "comm/exchange_codec.h"
#include "comm/low_rank.h"

namespace terse {
namespace {

constexpr int64_t kLengthBytes = 8;  // comm/mail.h

int64_t padded(int64_t bytes) {
  return (bytes + 7) / 8 * 8;
}

// Two dense averages' worth of collectives: to the owners, and from them.
void append_dense(std::vector<Transfer>& rounds, int64_t n, int64_t ranks, int64_t width) {
  const int64_t own = chunk_of(n, ranks, 0).size(), others = ranks - 1;
  rounds.push_back({others, (n - own) * width});
  rounds.push_back({others, own * others * width});
}

std::vector<Transfer> low_rank_transfers(const ExchangeOptions& options, const Bucket& bucket,
                                         int64_t ranks) {
  int64_t p = 0, q = 0;
  for (const Segment& s : bucket.segments) {
    const int64_t rank = useful_rank(s.rows, s.columns, options.rank);
    p += rank > 0 ? rank * s.rows : s.size;
    q += rank * s.columns;
  }
  std::vector<Transfer> rounds;
  append_dense(rounds, p, ranks, 4);
  append_dense(rounds, q, ranks, 4);
  return rounds;
}

// What top-k makes of the elements of a bucket inside a range, on average: a segment's entries in
// proportion, what is sent whole exactly. One message, header included. Selection by a sample is
// taken for exact, which it mostly is: the data decide whether it is up to 1.3 times as many.
int64_t topk_bytes(const ExchangeOptions& options, const Codec& codec, const Bucket& bucket,
                   Range range) {
  const bool bf16 = options.values == "bf16";
  const std::vector<double> densities = codec.densities(bucket, options.density);
  double bytes = 0;
  for (size_t s = 0; s < densities.size(); ++s) {
    const int64_t n = bucket.segments[s].size, first = bucket.segments[s].offset;
    const int64_t inside = std::min(range.end, first + n) - std::max(range.begin, first);
    if (inside <= 0) continue;
    const double entries = sparse_bytes(topk_count(densities[s], n), n, bf16);
    bytes += densities[s] >= 1 ? static_cast<double>(inside * (bf16 ? 2 : 4))
                               : 4 + entries * static_cast<double>(inside) / static_cast<double>(n);
  }
  return padded(kHeaderBytes + std::llround(bytes));
}

std::vector<Transfer> topk_transfers(const ExchangeOptions& options, const Bucket& bucket,
                                     int64_t ranks) {
  const std::unique_ptr<Codec> codec = make_codec(options);
  const int64_t others = ranks - 1;
  const Transfer lengths{others, others * kLengthBytes};
  if (one_stage(options, ranks))
    return {lengths, {others, others * topk_bytes(options, *codec, bucket, {0, bucket.size})}};
  int64_t to_owners = 0;
  for (int64_t j = 1; j < ranks; ++j)
    to_owners += topk_bytes(options, *codec, bucket, chunk_of(bucket.size, ranks, j));
  const int64_t own = topk_bytes(options, *codec, bucket, chunk_of(bucket.size, ranks, 0));
  return {lengths, {others, to_owners}, lengths, {others, others * own}};
}

std::vector<Transfer> coded_transfers(const ExchangeOptions& options, const Bucket& bucket,
                                      int64_t ranks) {
  const std::unique_ptr<Codec> codec = make_codec(options);
  const int64_t others = ranks - 1;
  std::vector<Range> chunks;
  for (int64_t j = 0; j < ranks; ++j) chunks.push_back(chunk_of(bucket.size, ranks, j));
  const auto worker = codec->bind(bucket, chunks);
  int64_t to_owners = 0;
  for (int64_t j = 1; j < ranks; ++j) to_owners += padded(worker->bytes(j));
  const auto owner = codec->bind(slice_bucket(bucket, chunks[0]), {Range{0, chunks[0].size()}});
  return {{others, to_owners}, {others, others * padded(owner->bytes(0))}};
}

}  // namespace

double sparse_bytes(int64_t entries, int64_t elements, bool bf16_values) {
  if (entries == 0 || elements == 0) return 0;
  const double density = static_cast<double>(entries) / static_cast<double>(elements);
  double gap = 1;  // P(gap >= g) = (1 - density)^g
  for (int64_t g = 128; g < int64_t{1} << 32; g *= 128)
    gap += std::pow(1 - density, static_cast<double>(g));
  const double indices =
      std::min(gap * static_cast<double>(entries), std::ceil(static_cast<double>(elements) / 8));
  return static_cast<double>(entries) * (bf16_values ? 2 : 4) + indices;
}

std::vector<ExchangeChoice> exchange_choices(const ExchangeOptions& recipe) {
  std::vector<ExchangeChoice> choices;
  const auto add = [&](std::string name, const char* codec) -> ExchangeOptions& {
    choices.push_back({std::move(name), recipe.with_codec(codec)});
    return choices.back().options;
  };
  add("fp32", "fp32");
  add("bf16", "bf16").backend_all_reduce = false;
  add("onebit", "onebit");
  std::vector<int64_t> widths{8, 4};
  if (recipe.worker() == "bits" && recipe.bits != 8 && recipe.bits != 4)
    widths.push_back(recipe.bits);
  for (const int64_t bits : widths) add(fmt::format("bits {}", bits), "bits").bits = bits;
  add(fmt::format("topk {}", recipe.density), "topk");
  add(fmt::format("lowrank {}", recipe.rank), "lowrank").residual = "fp32";
  return choices;
}

std::vector<Transfer> exchange_transfers(const ExchangeOptions& options, const Bucket& bucket,
                                         int64_t ranks) {
  TERSE_CHECK(ranks > 0, "{} ranks", ranks);
  if (options.worker() == "lowrank") return low_rank_transfers(options, bucket, ranks);
  if (options.worker() == "topk") return topk_transfers(options, bucket, ranks);
  if (options.compressed()) return coded_transfers(options, bucket, ranks);
  if (options.codec == "fp32" && options.backend_all_reduce)
    return {{2 * (ranks - 1), 2 * bucket.size * 4 * (ranks - 1) / ranks}};
  std::vector<Transfer> rounds;
  append_dense(rounds, bucket.size, ranks, options.codec == "bf16" ? 2 : 4);
  return rounds;
}

std::vector<Work> work_per_element(const ExchangeOptions& options, int64_t ranks,
                                   const ExchangeSpeed& speed) {
  std::vector<Work> items = speed.items;
  const auto n = static_cast<double>(ranks);
  if (options.worker() == "lowrank" || items.size() < 3) return items;
  if (one_stage(options, ranks)) {
    items.back() = items.back() + (n - 1) * speed.per_message;
    return items;
  }
  // Alone, an owner sums and encodes all; else it sums as much, and encodes its share.
  Work& owner = items[(items.size() - 1) / 2];
  const auto share = [&](double all, double encode) {
    return std::max(all - encode, 0.2 * all) + encode / n;
  };
  owner = {share(owner.alone, items[0].alone), share(owner.team, items[0].team)};
  return items;
}

std::vector<BucketCost> exchange_costs(const ExchangeOptions& options, const BucketPlan& plan,
                                       int64_t ranks, const ExchangeSpeed& speed) {
  const std::vector<Work> items = work_per_element(options, ranks, speed);
  std::vector<BucketCost> costs;
  for (const Bucket& bucket : plan.buckets) {
    const std::vector<Transfer> transfers = exchange_transfers(options, bucket, ranks);
    TERSE_CHECK(items.size() == transfers.size() + 1, "{} items of {} rounds", items.size(),
                transfers.size());
    const auto n = static_cast<double>(bucket.size);
    BucketCost& cost = costs.emplace_back();
    for (size_t r = 0; r < transfers.size(); ++r)
      cost.rounds.push_back({n * items[r], transfers[r]});
    cost.finish = n * items.back();
  }
  return costs;
}

}  // namespace terse
