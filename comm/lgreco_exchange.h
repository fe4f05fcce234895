// L-GreCo (Markov, Alimohammadi, Frantar, Alistarh, arXiv:2210.17357) around a compressed exchange:
// every `every` steps each segment's bits, density or rank is chosen anew, so that together they
// lose no more than the uniform parameter would and cost least (comm/allocation/allocation.h).
//
//   steps k P - A .. k P     sum what is compressed: message + residual, on every rank
//   until step k P + D       a thread of its own makes the tables: what each choice of each segment
//                            would lose, and its bytes
//   at step k P + D          ranks average their tables (squared errors), all solve the same
//                            problem and switch together
//
// Tables are averaged, not gradients: a few kilobytes instead of the model. The solution is the
// same on all ranks because its input is. Residuals and warm factors survive a change.
//
// Where ranks compress slices for their nodes (comm/hierarchical_exchange.h), each makes the tables
// of its slices: the squared errors and the bytes of a matrix are the sums over its parts.
//
// Vectors travel whole under every choice. Memory: one fp32 copy of what this rank compresses.
// Collective calls
// happen in commit(), at the same steps on all ranks; a checkpoint holds the sums, so that a
// resumed run decides as the uninterrupted one.
#pragma once
#include <cstdint>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "comm/allocation/allocation.h"
#include "comm/codec/codec.h"
#include "comm/exchange.h"
#include "comm/group.h"
#include "comm/residual.h"

namespace terse {

// What may be chosen.
struct LgrecoFamily {
  std::vector<double> parameters;      // ascending
  double reference = 0;                // the uniform one, among them
  std::shared_ptr<const Codec> codec;  // null: low rank
};
LgrecoFamily lgreco_bits(int64_t reference, std::shared_ptr<const Codec> codec);
LgrecoFamily lgreco_topk(double reference, std::shared_ptr<const Codec> codec);
LgrecoFamily lgreco_low_rank(int64_t reference);

struct LgrecoOptions {
  int64_t every = 500;  // steps between decisions, P
  int64_t sums = 10;    // steps that are summed before one, A
  int64_t delay = 5;    // steps that the tables have, D
  AllocationOptions allocation;
};

struct LgrecoDecision {
  int64_t step = 0;  // exchanges committed so far
  bool switched = false;
  double cost = 0;  // bytes a message, of what is in use from now on
  double uniform_cost = 0;
  double error = 0, budget = 0;
  std::vector<std::pair<std::string, double>> parameters;  // by segment, those that can be chosen
};

class LgrecoExchange final : public Exchange {
 public:
  // `inner` takes the family's parameters through set_parameters().
  LgrecoExchange(Group group, std::unique_ptr<Exchange> inner, LgrecoFamily family,
                 const LgrecoOptions& options);
  ~LgrecoExchange() override;

  std::string name() const override { return "L-GreCo " + inner_->name(); }
  void attach(const BucketPlan& plan) override;
  void set_live(int64_t bucket, const at::Tensor& words) override;
  int rounds() const override { return inner_->rounds(); }
  void start(int64_t bucket, const at::Tensor& message) override;
  void advance(int64_t bucket, int round) override { inner_->advance(bucket, round); }
  void finish(int64_t bucket, at::Tensor answer) override { inner_->finish(bucket, answer); }

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

  const std::vector<LgrecoDecision>& decisions() const { return decisions_; }
  std::vector<ExchangeDecision> take_decisions() override;

 private:
  // One segment that can be chosen for.
  struct Item {
    int64_t bucket = 0;
    size_t segment = 0;  // of the bucket
    int64_t choice = 0;  // in use
    Range here;          // the part of the bucket that this rank compresses of it; may be empty
  };
  struct Tables {
    std::vector<double> squared_errors;  // [items, choices]
    std::vector<double> bytes;           // [items, choices]
    std::vector<double> elements;        // [items]: of which this rank knows
  };

  int64_t choices() const {
    return static_cast<int64_t>(family_.parameters.size()) + 1;
  }  // + whole
  int64_t place() const { return steps_ % options_.every; }
  bool summing() const { return place() >= options_.every - options_.sums; }
  void sum(int64_t bucket, const at::Tensor& message, const at::Tensor& residual);
  void begin_tables();
  Tables make_tables(const std::vector<at::Tensor>& sums) const;
  void fill_item(const Item& item, const at::Tensor& sums, size_t row, Tables& tables) const;
  const Segment& segment_of(const Item& item) const {
    return plan_.buckets[static_cast<size_t>(item.bucket)].segments[item.segment];
  }
  void decide();
  Tables averaged(const Tables& own);
  void apply();

  Group group_;
  std::unique_ptr<Exchange> inner_;
  LgrecoFamily family_;
  LgrecoOptions options_;
  BucketPlan plan_;
  std::vector<Item> items_;
  int64_t steps_ = 0;  // committed exchanges
  std::vector<Range> observed_;
  Residual sums_;  // of observed_. current(): the sums so far; shadow(): with the step under way
  std::future<Tables> tables_;
  std::vector<LgrecoDecision> decisions_;
  size_t taken_ = 0;  // decisions that take_decisions() has handed out
};

}  // namespace terse
