// SelectExchange: several exchanges of which each bucket uses one, and another one from a step
// boundary on.
//
// select() moves what error feedback holds, so that nothing is lost: answers + what is kept = mean
// of the messages, across every switch.
//
//   compressed -> compressed   the worker's residual goes along; the owner's too if both have one
//   owner's residual e_s, and the new one has no owner's side
//                              the owner adds N e_s to its worker's residual: the mean owes e_s
//   compressed -> dense        the residual is added to the bucket's next message, once
//   dense -> compressed        starts with a residual of zero
//
// Every inner exchange is attached to the plan with the buckets of others emptied, so that bucket
// numbers, headers and names in a checkpoint stay what they are, and only what is in use has
// buffers, from its first use on. State in a checkpoint: that of the inner exchanges, by parameter
// name, and the choice.
//
// rounds() is that of the longest in use; an exchange with fewer does nothing in between and
// finishes with the others. The choice is the same on all ranks, and so is the order of
// collectives.
//
// Cost: nothing beside the exchange in use. A switch builds exchanges anew, with buffers of old and
// new side by side. Error control: the classic policy only, whose residual is all there is to move.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/exchange.h"
#include "comm/group.h"

namespace terse {

struct SelectCandidate {
  std::string name;    // "fp32", "onebit", ...
  bool lossy = false;  // keeps a residual
  bool drops = false;  // understands Exchange::set_density
  std::function<std::unique_ptr<Exchange>()> make;
};

class SelectExchange : public Exchange {
 public:
  // All buckets begin with choices[0].
  SelectExchange(Group group, std::vector<SelectCandidate> choices);
  ~SelectExchange() override;

  // choice[b] for every bucket. Between steps; the same on all ranks. Calls nothing collective
  // unless making an exchange does.
  void select(std::span<const int64_t> choice);
  std::vector<int64_t> selection() const;
  const std::vector<SelectCandidate>& choices() const { return choices_; }
  bool any_lossy() const;

  // "onebit", or with several by bucket "fp32*3 onebit*12". parse: Error(invalid_file) for another
  // number of buckets or a name that is no choice.
  std::string selection_text() const { return selection_text(selection()); }
  std::string selection_text(std::span<const int64_t> choice) const;
  std::vector<int64_t> parse_selection(const std::string& text) const;

  std::string name() const override;
  void attach(const BucketPlan& plan) override;
  void set_live(int64_t bucket, const at::Tensor& words) override;
  void set_density(double density) override;
  void observe(ExchangeObserver observer) override;
  bool keeps_message(int64_t bucket) const override { return inner(bucket).keeps_message(bucket); }
  int rounds() const override;
  void start(int64_t bucket, const at::Tensor& message) override;
  void advance(int64_t bucket, int round) override;
  void finish(int64_t bucket, at::Tensor answer) override;
  bool finite(int64_t bucket, const at::Tensor& answer) const override;

  bool selects() const override;  // some choice does
  std::span<const int64_t> selected(int64_t bucket) const override;
  int64_t wire_bytes(int64_t bucket) const override;
  int64_t encodes() const override;

  void commit() override;
  void rollback() override;
  void reset_residuals() override;
  double residual_norm() const override;
  at::Tensor worker_residual(int64_t bucket) const override;
  at::Tensor server_residual(int64_t bucket) const override;

  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

 protected:
  const Group& group() const { return group_; }
  Group& group() { return group_; }
  const BucketPlan& plan() const { return plan_; }

 private:
  struct Slot {
    int64_t choice = 0;
    bool started = false;
    int64_t steps = 0;   // committed exchanges
    at::Tensor live;     // Exchange::set_live
    at::Tensor pending;  // dense only: what a compressed exchange had not sent
    at::Tensor sum;      // message + pending of the step under way
  };
  using Inners = std::vector<std::unique_ptr<Exchange>>;  // by choice; null: not in use

  Slot& slot(int64_t bucket) { return slots_.at(static_cast<size_t>(bucket)); }
  const Slot& slot(int64_t bucket) const { return slots_.at(static_cast<size_t>(bucket)); }
  bool lossy(int64_t bucket) const {
    return choices_[static_cast<size_t>(slot(bucket).choice)].lossy;
  }
  Exchange& inner(int64_t bucket) const {
    return *inners()[static_cast<size_t>(slot(bucket).choice)];
  }
  const Inners& inners() const;
  Inners make_inners() const;
  BucketPlan plan_of(int64_t choice) const;
  Range own_chunk(const Bucket& bucket) const;
  void fold_owed(const Bucket& bucket, const Exchange& from) const;
  bool unused() const;
  void save_nothing_kept(StateWriter& state, std::span<const int64_t> choice) const;
  void save_no_owners(StateWriter& state) const;
  void save_pending(StateWriter& state) const;
  void load_inners(const StateReader& state);

  Group group_;
  std::vector<SelectCandidate> choices_;
  BucketPlan plan_;
  std::vector<Slot> slots_;
  mutable Inners inners_;  // empty: not used yet
  double density_ = 0;
  int64_t encodes_before_ = 0;  // of exchanges that are gone
};

}  // namespace terse
