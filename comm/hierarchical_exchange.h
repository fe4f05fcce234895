// Dense inside a node, anything between nodes: the fast links inside carry what is exact, the slow
// one between carries what is small.
//
//   inside a node of L ranks   all-to-all of slices, summed in rank order: rank l has the node's
//                              mean of slice l
//   between nodes              rank l's peers on all nodes average slice l with the inner exchange
//   inside                     all-gather of the slices
//
// Each rank compresses a slice, so between nodes a node sends what one rank of the inner exchange
// would, and its ranks share the work. Residuals are of the node's mean: noise that the ranks of a
// node cancel is never fed back.
//
// Slices are equal parts that cut matrices, or (low rank, which needs their shape) whole segments
// spread evenly over the ranks (comm/node_slices.h).
//
// A node is one worker of the inner exchange: selected() is what the node has sent, the same on all
// its ranks. So is DGC's masking: velocity is linear in the gradients, so the node's worker in Lin
// et al. (arXiv:1712.01887, algorithm 4: u <- u (not sent)) has the mean of its ranks' velocities,
// which is 0 where it was sent only if every rank's is set to 0. A codec that selects adds one bit
// an element to the all-gather inside, 1/32 of it: unlike a list its length is known beforehand,
// and links inside are not what is scarce.
//
// Ranks are numbered node by node, with equally many on each; anything else is an Error(usage). CPU
// tensors only.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "comm/exchange.h"
#include "comm/group.h"
#include "comm/node_slices.h"

namespace terse {

class HierarchicalExchange final : public Exchange {
 public:
  // Collective. `ranks_per_node`: what this rank sees, the same everywhere. `inner` makes the
  // exchange between nodes for a group of one rank a node.
  HierarchicalExchange(const Group& group, int64_t ranks_per_node, Slicing slicing,
                       const std::function<std::unique_ptr<Exchange>(Group)>& inner);
  ~HierarchicalExchange() override;

  std::string name() const override;
  void attach(const BucketPlan& plan) override;
  void set_live(int64_t bucket, const at::Tensor& words) override;
  void set_parameters(int64_t bucket, std::span<const double> parameters) override;
  void set_density(double density) override { inner_->set_density(density); }
  void observe(ExchangeObserver observer) override { inner_->observe(std::move(observer)); }
  std::vector<Range> observed(const BucketPlan& plan) const override;
  int rounds() const override { return inner_->rounds() + 2; }
  void start(int64_t bucket, const at::Tensor& message) override;
  void advance(int64_t bucket, int round) override;
  void finish(int64_t bucket, at::Tensor answer) override;

  bool selects() const override { return inner_->selects(); }
  std::span<const int64_t> selected(int64_t bucket) const override;
  int64_t wire_bytes(int64_t bucket) const override;  // both kinds of link
  int64_t encodes() const override { return inner_->encodes(); }

  Decider* decider() override { return inner_->decider(); }
  std::vector<ExchangeDecision> take_decisions() override { return inner_->take_decisions(); }

  void commit() override { inner_->commit(); }
  void rollback() override { inner_->rollback(); }
  void reset_residuals() override { inner_->reset_residuals(); }
  double residual_norm() const override { return inner_->residual_norm(); }

  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

 private:
  struct Slot;
  Slot& slot(int64_t bucket) const { return *slots_.at(static_cast<size_t>(bucket)); }
  void average_slice(Slot& slot) const;
  void send_answer(Slot& slot, int64_t bucket);

  int64_t ranks_, rank_;  // of the whole group
  Group inside_, between_;
  Slicing slicing_;
  std::unique_ptr<Exchange> inner_;
  BucketPlan plan_;
  std::vector<std::unique_ptr<Slot>> slots_;
};

}  // namespace terse
