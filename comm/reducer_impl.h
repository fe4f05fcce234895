// The Reducer's inside, shared by its files: reducer.cc (its calls, and what a checkpoint holds),
// reducer_buckets.cc, reducer_vote.cc, reducer_commit.cc. Nobody else includes it.
#pragma once
#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "comm/reducer.h"
#include "comm/reducer_buffers.h"
#include "comm/reducer_clock.h"
#include "comm/reducer_thread.h"
#include "comm/vote.h"

namespace terse {

struct Reducer::Impl {
  Impl(Group g, std::vector<Parameter> parameters, std::shared_ptr<Optimizer> o,
       std::unique_ptr<Exchange> d, std::unique_ptr<Exchange> c, ReducerOptions opt)
      : group(std::move(g)),
        optimizer(std::move(o)),
        dense(std::move(d)),
        compressed(std::move(c)),
        options(opt),
        buffers(std::move(parameters), opt.bucket_bytes, opt.rounded),
        plan_hash(buffers.plan().hash()),
        squares(buffers.plan().buckets.size()),
        answer_squares(squares.size()),
        thread(device(), [this](ReducerItem item) { run(item); }) {}

  c10::Device device() const {
    return buffers.tensors().empty() ? c10::Device(c10::kCPU) : buffers.tensors()[0].value.device();
  }
  int64_t bucket_count() const { return static_cast<int64_t>(buffers.plan().buckets.size()); }
  bool local() const { return context.plan.phase == Phase::skip; }
  bool coded() const { return context.plan.phase == Phase::codec; }
  // Of the exchange that chooses while running, if there is one.
  Decider* decider() const { return (compressed ? compressed : dense)->decider(); }
  // Of this step; null when it exchanges nothing.
  Exchange* exchange() const {
    if (local()) return nullptr;
    return coded() && compressed ? compressed.get() : dense.get();
  }
  double coefficient(double norm) const {
    return options.clip > 0 && norm > options.clip ? options.clip / norm : 1.0;
  }

  // Bucket by bucket through the exchange: reducer_buckets.cc.
  at::Tensor answer(int64_t bucket);
  at::Tensor message(int64_t bucket);
  void run(ReducerItem item);
  double squares_of_answer(int64_t bucket, const at::Tensor& answer);
  void offer(bool background);
  void run_tail();
  void exact_coefficient();
  void encode_again(double true_coefficient);

  // What all ranks agree on: reducer_vote.cc.
  void agree_on_plan();
  Ballot ballot(double loss, bool stop) const;
  bool decide(const Tally& result, StepResult& r);

  // What becomes of the step: reducer_commit.cc.
  void take_together(double loss, bool stop, StepResult& r);
  void take_alone(double loss, StepResult& r);
  void take(const PhasePlan& following);
  void apply(int64_t bucket);
  void commit(const Tally& result);
  void skip(const StepResult& r);
  void tell_live();
  void tell_density(double density);
  void tell_compression();
  void require_sync(const char* to) const;

  Group group;
  std::shared_ptr<Optimizer> optimizer;
  std::unique_ptr<Exchange> dense;
  std::unique_ptr<Exchange> compressed;
  ReducerOptions options;
  ReducerBuffers buffers;
  uint64_t plan_hash;

  PhasePlan next;        // of the step to come
  double clip_norm = 0;  // as of the last committed step's vote
  int64_t skipped = 0;   // consecutive
  bool in_sync = true;
  int64_t missing = 0;  // this rank's gradients since the last vote that counts

  StepContext context;
  std::vector<at::Tensor> answers;     // of codec phases, by bucket
  at::Tensor outgoing;                 // the message of whichever bucket starts
  std::vector<double> squares;         // of the local gradient, by bucket
  std::vector<double> answer_squares;  // of the averaged message; codec phases: 0 or infinity
  bool offered = false;
  ReducerClock clock;
  int64_t wire_before = 0;
  ReducerThread thread;  // last: joined before what it uses goes
};

inline double total(const std::vector<double>& parts) {
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum;
}

}  // namespace terse
