#include "comm/hierarchical_exchange.h"

#include <ATen/ATen.h>

#include <atomic>
#include <numeric>

#include "base/error.h"
#include "comm/codec/codec.h"
#include "comm/codec/dense_arrays.h"
#include "comm/exchange_tensors.h"

namespace terse {
namespace {

// The ranks of this rank's node, or its peers (the same place on every node). A name is used once:
// all ranks make the same groups in the same order, so a count tells them apart.
Group part_of(const Group& group, int64_t per_node, bool inside) {
  static std::atomic<int64_t> made{0};
  const int64_t node = group.rank() / per_node, local = group.rank() % per_node;
  std::vector<int> ranks;
  for (int rank = 0; rank < group.size(); ++rank)
    if ((inside ? rank / per_node == node : rank % per_node == local)) ranks.push_back(rank);
  const int64_t number = made++;
  return group.sub_group(ranks, inside ? fmt::format("node{}.{}", node, number)
                                       : fmt::format("peers{}.{}", local, number));
}

int64_t checked(const Group& group, int64_t per_node) {
  if (per_node < 1 || group.size() % per_node != 0)
    fail(ExitCode::usage,
         "[exchange] hierarchy needs equally many ranks on every node; {} ranks do not divide into "
         "nodes of {}",
         group.size(), per_node);
  return per_node;
}

}  // namespace

struct HierarchicalExchange::Slot {
  int64_t size = 0;
  Range slice;                  // this rank's
  std::vector<int64_t> slices;  // elements, by local rank
  std::vector<int64_t> own;     // this rank's slice, once per local rank
  at::Tensor received;          // own slice of every local rank
  at::Tensor mean;              // own slice: the node's mean, then the answer
  at::Tensor gathered;          // the whole answer
  Pending pending;
};

HierarchicalExchange::HierarchicalExchange(
    const Group& group, int64_t ranks_per_node,
    const std::function<std::unique_ptr<Exchange>(Group)>& inner)
    : inside_(part_of(group, checked(group, ranks_per_node), true)),
      between_(part_of(group, ranks_per_node, false)),
      inner_(inner(between_)) {}

HierarchicalExchange::~HierarchicalExchange() = default;

std::string HierarchicalExchange::name() const {
  return fmt::format("{} between {} nodes of {} ranks", inner_->name(), between_.size(),
                     inside_.size());
}

void HierarchicalExchange::attach(const BucketPlan& plan) {
  plan_ = plan;
  slots_.clear();
  BucketPlan slices;
  for (const Bucket& bucket : plan.buckets) {
    auto slot = std::make_unique<Slot>();
    slot->size = bucket.size;
    slot->slice = chunk_of(bucket.size, inside_.size(), inside_.rank());
    for (int64_t l = 0; l < inside_.size(); ++l)
      slot->slices.push_back(chunk_of(bucket.size, inside_.size(), l).size());
    const int64_t own = slot->slice.size();
    slot->own.assign(slot->slices.size(), own);
    slot->received = at::empty({own * inside_.size()}, at::kFloat);
    slot->mean = at::empty({own}, at::kFloat);
    slot->gathered = at::empty({bucket.size}, at::kFloat);
    slices.buckets.push_back(slice_bucket(bucket, slot->slice));
    slots_.push_back(std::move(slot));
  }
  inner_->attach(slices);
}

void HierarchicalExchange::set_live(int64_t bucket, const at::Tensor& words) {
  Slot& s = slot(bucket);
  check_live_words(words, s.size, bucket);
  // Slices begin at multiples of 64 elements, so at whole words.
  inner_->set_live(
      bucket, words.defined() ? words.slice(0, s.slice.begin / 64).contiguous() : at::Tensor());
}

void HierarchicalExchange::set_parameters(int64_t bucket, std::span<const double> parameters) {
  inner_->set_parameters(bucket, slice_parameters(plan_.buckets.at(static_cast<size_t>(bucket)),
                                                  slot(bucket).slice, parameters));
}

void HierarchicalExchange::start(int64_t bucket, const at::Tensor& message) {
  Slot& s = slot(bucket);
  check_bucket_tensor(message, s.size, "message");
  s.pending = inside_.all_to_all(s.received, message, s.own, s.slices, bucket_tag(bucket));
}

void HierarchicalExchange::advance(int64_t bucket, int round) {
  Slot& s = slot(bucket);
  if (round == 1) {
    s.pending.wait();
    std::vector<const std::byte*> rows;
    const auto* first = static_cast<const std::byte*>(s.received.const_data_ptr());
    for (int64_t l = 0; l < inside_.size(); ++l) rows.push_back(first + l * s.mean.numel() * 4);
    sum_rows(false, rows, s.mean.numel(), 1.0f / static_cast<float>(inside_.size()),
             s.mean.mutable_data_ptr<float>());
    inner_->start(bucket, s.mean);
  } else if (round <= inner_->rounds()) {
    inner_->advance(bucket, round - 1);
  } else {
    inner_->finish(bucket, s.mean);
    s.pending = inside_.all_gather_v(s.gathered, s.mean, s.slices, bucket_tag(bucket));
  }
}

void HierarchicalExchange::finish(int64_t bucket, at::Tensor answer) {
  Slot& s = slot(bucket);
  check_bucket_tensor(answer, s.size, "answer");
  s.pending.wait();
  s.pending = Pending();
  answer.copy_(s.gathered);
}

int64_t HierarchicalExchange::wire_bytes(int64_t bucket) const {
  const Slot& s = slot(bucket);
  const int64_t own = s.slice.size(), others = inside_.size() - 1;
  return inner_->wire_bytes(bucket) + (s.size - own + own * others) * 4;
}

}  // namespace terse
