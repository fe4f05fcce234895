// Exchange: averages one bucket over a Group, in one or several rounds.
//
// A round is local work followed by one collective. The Reducer drives all buckets through their
// rounds in one order that every rank computes from the bucket plan alone (stage 1 of bucket k,
// then stage 2 of bucket k - d, ...), so that no rank's luck decides which collective comes first:
//
//   exchange.start(bucket, message)   round 0: local work, issues the first collective
//   exchange.advance(bucket, r)       r = 1 .. rounds()-1: waits for r-1's, works, issues the next
//   exchange.finish(bucket, answer)   waits for the last, decodes the average into `answer`
//
// `message` must stay unchanged until finish() returns, unless keeps_message() says otherwise;
// `answer` may be the same tensor. Both are contiguous fp32 of the bucket's size.
// Every rank decodes the same gathered bytes, its own chunk included: answers are identical bytes
// on all ranks. Residuals move to their shadow in start/advance and count only from commit() on;
// rollback() forgets them (a bucket may then be started again). All waits carry the group's
// deadline. Runs on one thread (the communication thread).
//
// Allocation: what grows with a bucket is allocated once, by attach() or the first steps after it
// or after set_parameters(); from then on a step allocates handles only (views of tensors, pending
// collectives, c10d's work), none of more than 4 KiB. Except L-GreCo at its decisions, one step in
// LgrecoOptions::every, and the scratch that a backend's own all-reduce takes.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/state.h"
#include "comm/bucket.h"
#include "comm/decider.h"

namespace terse {

// Sees what start() is about to compress: a bucket's message and the residual that is added to it.
using ExchangeObserver =
    std::function<void(int64_t bucket, const at::Tensor& message, const at::Tensor& residual)>;

// Something that an exchange decided while running, for decisions.jsonl.
struct ExchangeDecision {
  std::string what;    // "lgreco", "codec"
  std::string value;   // the choice
  std::string reason;  // the numbers it rests on
};

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual std::string name() const = 0;  // "dense fp32", "two-stage onebit", ...

  virtual void attach(const BucketPlan& plan) = 0;  // allocates buffers and residuals
  // Optimizer::live(): bit i % 64 of word i / 64 (int64 words) = element i is live; undefined: all
  // are. A dead element takes no part in a scale, its residual stays 0 and its answer is 0; exact
  // exchanges ignore the mask. The same on all ranks. Set after attach() and at commits, never
  // during a step.
  virtual void set_live(int64_t bucket, const at::Tensor& words) { (void)bucket, (void)words; }
  // From the next start() on: segment s of the bucket has the codec parameter parameters[s] (bits,
  // density, rank: what the codec's bind() takes; empty: the recipe's for all). The same on all
  // ranks; between steps only. What error feedback holds stays. Error(usage) if the codec has none.
  virtual void set_parameters(int64_t bucket, std::span<const double> parameters) {
    if (!parameters.empty())
      fail(ExitCode::usage,
           "bucket {}: {} has no parameter that could differ by segment; choose bits, topk or "
           "lowrank",
           bucket, name());
  }
  // All buckets at once: the density of matrices, by the codec's own rules for what goes whole.
  virtual void set_density(double density) {
    fail(ExitCode::usage,
         "{} drops no elements, so a density of {} means nothing to it; choose topk", name(),
         density);
  }
  // Called in start(), before anything is encoded; null: nobody. For statistics.
  virtual void observe(ExchangeObserver observer) { observer_ = std::move(observer); }

  // The elements of each bucket that observe() shows on this rank, once attached: all, or the
  // slices that this rank compresses for its node. Every element is shown to some rank.
  virtual std::vector<Range> observed(const BucketPlan& plan) const {
    std::vector<Range> whole;
    for (const Bucket& bucket : plan.buckets) whole.push_back({0, bucket.size});
    return whole;
  }

  // Whether the bucket's message is read after start() has returned. If not, one tensor that stays
  // in the cache can carry every bucket's. Holds until the next commit().
  virtual bool keeps_message(int64_t bucket) const { return (void)bucket, true; }

  virtual int rounds() const = 0;
  virtual void start(int64_t bucket, const at::Tensor& message) = 0;
  virtual void advance(int64_t bucket, int round) = 0;
  virtual void finish(int64_t bucket, at::Tensor answer) = 0;

  // Whether every number of the answer is finite; `answer` is what finish() filled, unchanged. The
  // same on all ranks.
  virtual bool finite(int64_t bucket, const at::Tensor& answer) const;

  // Coordinates of the bucket in whose sent values this rank's message took part, ascending; empty
  // unless selects(). What was sent there is not in a residual any more, so what led to it ends
  // there too (DGC masks its velocity). Valid from finish() until the next start().
  virtual bool selects() const { return false; }  // the codec chooses coordinates
  virtual std::span<const int64_t> selected(int64_t bucket) const {
    (void)bucket;
    return {};
  }

  // Bytes this rank sends for one average of the bucket, exactly (an upper bound for codecs whose
  // size depends on the data).
  virtual int64_t wire_bytes(int64_t bucket) const = 0;
  // How many buckets were encoded by a lossy codec since attach: proves that compression happened.
  virtual int64_t encodes() const { return 0; }

  // What was decided since the last call. The same on all ranks.
  virtual std::vector<ExchangeDecision> take_decisions() { return {}; }

  virtual void commit() {}
  virtual void rollback() {}
  virtual void reset_residuals() {}                   // a new residual epoch
  virtual double residual_norm() const { return 0; }  // L2 over this rank's committed residuals

  // For tests and `terse lab`: the committed residuals of a bucket, this rank's whole and its chunk
  // as an owner; undefined where the exchange keeps none.
  virtual at::Tensor worker_residual(int64_t bucket) const { return (void)bucket, at::Tensor(); }
  virtual at::Tensor server_residual(int64_t bucket) const { return (void)bucket, at::Tensor(); }

  virtual void save(StateWriter& state) const { (void)state; }
  // Same number of ranks, on as many nodes under hierarchy: bitwise. Otherwise every rank gets the
  // mean of the saved worker residuals and its part of the concatenated server residual, so the
  // pending update is unchanged.
  virtual void load(const StateReader& state) { (void)state; }

  // Of an exchange that chooses while running; null: nothing is decided in votes.
  virtual Decider* decider() { return nullptr; }

 protected:
  ExchangeObserver observer_;
};

}  // namespace terse
