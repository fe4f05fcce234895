// L-GreCo (Markov, Alimohammadi, Frantar, Alistarh, arXiv:2210.17357) around a compressed exchange:
// every `every` steps each segment's bits, density or rank is chosen anew, so that together they
// lose no more than the uniform parameter would and cost least (comm/allocation/allocation.h).
//
//   steps k P - A .. k P     sum what is compressed: message + residual, on every rank
//   until step k P + D - 1   a thread of its own makes the tables: what each choice of each segment
//                            would lose, and its bytes
//   at step k P + D - 1      ranks average their tables (squared errors); a thread solves
//   at step k P + D          all have solved the same problem and switch together
//
// Tables are averaged, not gradients: a few kilobytes instead of the model. The solution is the
// same on all ranks because its input is. Residuals and warm factors survive a change.
//
// With a timer (cost = "time") not bytes are saved but the predicted step: steps k P - 3 to k P - 1
// are quiet (comm/decider.h), at step k P the link and, once, the codec are measured
// (comm/lgreco_timer.h), and what is sent while backward runs anyway costs nothing
// (comm/plan/allocate_by_time.h). Where no step was timed, as in `terse lab`, all is taken to be
// waited for.
//
// With `replay` nothing is measured or summed: the given decisions hold from the given steps on.
//
// Where ranks compress slices for their nodes (comm/hierarchical_exchange.h), each makes the tables
// of its slices: the squared errors and the bytes of a matrix are the sums over its parts.
//
// Vectors travel whole under every choice. Memory: one fp32 copy of what this rank compresses.
// Collective calls happen in commit(), at the same steps on all ranks; a checkpoint holds the sums
// and the times, so that a resumed run decides as the uninterrupted one (by time: from what was
// measured until then).
#pragma once
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/allocation/allocation.h"
#include "comm/exchange.h"
#include "comm/group.h"
#include "comm/lgreco_tables.h"
#include "comm/lgreco_timer.h"
#include "comm/residual.h"

namespace terse {

struct LgrecoOptions {
  int64_t every = 500;  // steps between decisions, P
  int64_t sums = 10;    // steps that are summed before one, A
  int64_t delay = 5;    // steps that the tables have, D
  AllocationOptions allocation{};
  int64_t ranks_per_node = 1;          // of a hierarchical `inner`
  std::optional<LgrecoTimer> timer{};  // by time
  bool replay = false;
  // (first step it holds for, a decision's value), ascending. On rank 0.
  std::vector<std::pair<int64_t, std::string>> replayed{};
};

class LgrecoExchange final : public Exchange, public Decider {
 public:
  // `inner` takes the family's parameters through set_parameters().
  LgrecoExchange(Group group, std::unique_ptr<Exchange> inner, LgrecoFamily family,
                 const LgrecoOptions& options);
  ~LgrecoExchange() override;

  std::string name() const override { return "L-GreCo " + inner_->name(); }
  void attach(const BucketPlan& plan) override;
  void set_live(int64_t bucket, const at::Tensor& words) override;
  bool keeps_message(int64_t bucket) const override { return inner_->keeps_message(bucket); }
  int rounds() const override { return inner_->rounds(); }
  void start(int64_t bucket, const at::Tensor& message) override;
  void advance(int64_t bucket, int round) override { inner_->advance(bucket, round); }
  void finish(int64_t bucket, at::Tensor answer) override { inner_->finish(bucket, answer); }
  bool finite(int64_t bucket, const at::Tensor& answer) const override {
    return inner_->finite(bucket, answer);
  }

  std::span<const int64_t> selected(int64_t bucket) const override {
    return inner_->selected(bucket);
  }
  int64_t wire_bytes(int64_t bucket) const override { return inner_->wire_bytes(bucket); }
  int64_t encodes() const override { return inner_->encodes(); }
  at::Tensor worker_residual(int64_t bucket) const override {
    return inner_->worker_residual(bucket);
  }
  at::Tensor server_residual(int64_t bucket) const override {
    return inner_->server_residual(bucket);
  }

  void commit() override;
  void rollback() override;
  void reset_residuals() override { inner_->reset_residuals(); }
  double residual_norm() const override { return inner_->residual_norm(); }

  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

  Decider* decider() override { return options_.timer || options_.replay ? this : nullptr; }
  bool quiet(int64_t step) const override;
  bool due(int64_t step) const override;
  void observe(const StepTimes& times) override;
  void decide(int64_t first_step) override;
  bool compresses() const override { return true; }
  using Exchange::observe;  // of messages

  std::vector<ExchangeDecision> take_decisions() override;

 private:
  struct Solution {
    AllocationResult result;
    double computing = 0;
  };

  int64_t place() const { return steps_ % options_.every; }
  bool summing() const { return !options_.replay && place() >= options_.every - options_.sums; }
  void sum(int64_t bucket, const at::Tensor& message, const at::Tensor& residual);
  void begin_tables();
  void measure();
  void begin_solving();
  void settle();
  std::vector<AllocationSegment> problem(const LgrecoTables& tables) const;
  const Segment& segment_of(const LgrecoItem& item) const {
    return plan_.buckets[static_cast<size_t>(item.bucket)].segments[item.segment];
  }
  std::string reason(const Solution& solution) const;
  std::string value() const;
  const std::string* replayed(int64_t first_step) const;
  void take_choices(const std::string& value);
  void apply();

  Group group_;
  std::unique_ptr<Exchange> inner_;
  LgrecoFamily family_;
  LgrecoOptions options_;
  BucketPlan plan_;
  std::vector<LgrecoItem> items_;
  int64_t steps_ = 0;  // committed exchanges
  std::vector<Range> observed_;
  Residual sums_;  // of observed_. current(): the sums so far; shadow(): with the step under way
  std::vector<StepTimes> quiet_;      // since the last measurement
  std::optional<LgrecoTimes> times_;  // by time: the last measurement
  std::future<LgrecoTables> tables_;
  std::future<Solution> solution_;
  std::vector<ExchangeDecision> decisions_;
};

}  // namespace terse
