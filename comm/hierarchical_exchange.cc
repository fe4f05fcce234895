#include "comm/hierarchical_exchange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <bit>

#include "base/error.h"
#include "comm/codec/codec.h"
#include "comm/codec/dense_arrays.h"
#include "comm/exchange_tensors.h"
#include "comm/saved_ranks.h"

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
  std::vector<Range> slices;     // by local rank
  Range slice;                   // this rank's
  std::vector<int64_t> sizes;    // elements of the slices
  std::vector<int64_t> own;      // this rank's, once per local rank
  std::vector<int64_t> answers;  // floats that come from each local rank: its slice and its bits
  at::Tensor received;           // own slice of every local rank
  at::Tensor sent;               // own slice: the node's mean, then the answer; then the bits
  at::Tensor mean;               // `sent` without the bits
  at::Tensor gathered;           // `sent` of every local rank
  std::vector<const std::byte*> rows;
  std::vector<int64_t> selected;
  Pending pending;
};

namespace {

// Bit i % 32 of word i / 32: element i of a slice was sent.
int64_t bit_words(int64_t elements) {
  return (elements + 31) / 32;
}

void set_bits(std::span<const int64_t> elements, std::span<uint32_t> words) {
  std::fill(words.begin(), words.end(), 0u);
  for (const int64_t i : elements) words[static_cast<size_t>(i / 32)] |= 1u << (i % 32);
}

void append_bits(const uint32_t* words, Range slice, std::vector<int64_t>& elements) {
  for (int64_t w = 0; w < bit_words(slice.size()); ++w)
    for (uint32_t rest = words[w]; rest != 0; rest &= rest - 1)
      elements.push_back(slice.begin + 32 * w + std::countr_zero(rest));
}

}  // namespace

HierarchicalExchange::HierarchicalExchange(
    const Group& group, int64_t ranks_per_node, Slicing slicing,
    const std::function<std::unique_ptr<Exchange>(Group)>& inner)
    : ranks_(group.size()),
      rank_(group.rank()),
      inside_(part_of(group, checked(group, ranks_per_node), true)),
      between_(part_of(group, ranks_per_node, false)),
      slicing_(slicing),
      inner_(inner(between_)) {}

HierarchicalExchange::~HierarchicalExchange() = default;

std::string HierarchicalExchange::name() const {
  return fmt::format("{} between {} nodes of {} ranks", inner_->name(), between_.size(),
                     inside_.size());
}

void HierarchicalExchange::attach(const BucketPlan& plan) {
  plan_ = plan;
  slots_.clear();
  BucketPlan inner_plan;
  const auto slices = node_slices(plan, inside_.size(), slicing_);
  for (const Bucket& bucket : plan.buckets) {
    auto slot = std::make_unique<Slot>();
    slot->size = bucket.size;
    slot->slices = slices[slots_.size()];
    slot->slice = slot->slices[static_cast<size_t>(inside_.rank())];
    int64_t floats = 0;
    for (const Range slice : slot->slices) {
      slot->sizes.push_back(slice.size());
      slot->answers.push_back(slice.size() + (selects() ? bit_words(slice.size()) : 0));
      floats += slot->answers.back();
    }
    const int64_t own = slot->slice.size();
    slot->own.assign(slot->slices.size(), own);
    slot->received = at::empty({own * inside_.size()}, at::kFloat);
    slot->sent = at::empty({slot->answers[static_cast<size_t>(inside_.rank())]}, at::kFloat);
    slot->mean = slot->sent.narrow(0, 0, own);
    slot->gathered = at::empty({floats}, at::kFloat);
    const auto* first = static_cast<const std::byte*>(slot->received.const_data_ptr());
    for (int64_t l = 0; l < inside_.size(); ++l) slot->rows.push_back(first + l * own * 4);
    inner_plan.buckets.push_back(slice_bucket(bucket, slot->slice));
    slots_.push_back(std::move(slot));
  }
  inner_->attach(inner_plan);
}

void HierarchicalExchange::save(StateWriter& state) const {
  state.value(Scope::shared, kRanksPerNode, static_cast<int64_t>(inside_.size()));
  inner_->save(state);
}

void HierarchicalExchange::load(const StateReader& state) {
  inner_->load(NodeState(state, ranks_, rank_, inside_.size()));
}

void HierarchicalExchange::set_live(int64_t bucket, const at::Tensor& words) {
  Slot& s = slot(bucket);
  check_live_words(words, s.size, bucket);
  inner_->set_live(bucket, words.defined() ? slice_words(words, s.slice) : at::Tensor());
}

void HierarchicalExchange::set_parameters(int64_t bucket, std::span<const double> parameters) {
  inner_->set_parameters(bucket, slice_parameters(plan_.buckets.at(static_cast<size_t>(bucket)),
                                                  slot(bucket).slice, parameters));
}

std::vector<Range> HierarchicalExchange::observed(const BucketPlan&) const {
  std::vector<Range> own;
  for (const auto& slot : slots_) own.push_back(slot->slice);
  return own;
}

void HierarchicalExchange::start(int64_t bucket, const at::Tensor& message) {
  Slot& s = slot(bucket);
  check_bucket_tensor(message, s.size, "message");
  s.pending = inside_.all_to_all(s.received, message, s.own, s.sizes, bucket_tag(bucket));
}

void HierarchicalExchange::average_slice(Slot& s) const {
  s.pending.wait();
  sum_rows(false, s.rows, s.mean.numel(), 1.0f / static_cast<float>(inside_.size()),
           s.mean.mutable_data_ptr<float>());
}

void HierarchicalExchange::send_answer(Slot& s, int64_t bucket) {
  inner_->finish(bucket, s.mean);
  if (selects()) {
    auto* bits = reinterpret_cast<uint32_t*>(s.sent.mutable_data_ptr<float>()) + s.slice.size();
    set_bits(inner_->selected(bucket), {bits, static_cast<size_t>(bit_words(s.slice.size()))});
  }
  s.pending = inside_.all_gather_v(s.gathered, s.sent, s.answers, bucket_tag(bucket));
}

void HierarchicalExchange::advance(int64_t bucket, int round) {
  TERSE_CHECK(round > 0 && round < rounds(), "round {}", round);
  Slot& s = slot(bucket);
  if (round == 1) {
    average_slice(s);
    inner_->start(bucket, s.mean);
  } else if (round <= inner_->rounds()) {
    inner_->advance(bucket, round - 1);
  } else {
    send_answer(s, bucket);
  }
}

void HierarchicalExchange::finish(int64_t bucket, at::Tensor answer) {
  Slot& s = slot(bucket);
  check_bucket_tensor(answer, s.size, "answer");
  s.pending.wait();
  s.pending = Pending();
  s.selected.clear();
  const float* from = s.gathered.const_data_ptr<float>();
  float* to = answer.mutable_data_ptr<float>();
  for (size_t l = 0; l < s.slices.size(); ++l) {
    const Range slice = s.slices[l];
    std::copy_n(from, slice.size(), to + slice.begin);
    if (selects())
      append_bits(reinterpret_cast<const uint32_t*>(from) + slice.size(), slice, s.selected);
    from += s.answers[l];
  }
}

std::span<const int64_t> HierarchicalExchange::selected(int64_t bucket) const {
  return slot(bucket).selected;
}

int64_t HierarchicalExchange::wire_bytes(int64_t bucket) const {
  const Slot& s = slot(bucket);
  const int64_t others = inside_.size() - 1;
  return inner_->wire_bytes(bucket) + (s.size - s.slice.size() + s.sent.numel() * others) * 4;
}

}  // namespace terse
