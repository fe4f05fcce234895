// What the Reducer asks of an optimizer. Declared here, implemented in optim/.
//
// One step, in this order:
//   message(bucket) for every bucket     on the communication thread, while backward goes on
//   [exchange averages the messages into answers; the codec reports sent() coordinates]
//   next_plan()                          on every rank; rank 0's answer travels in the vote
//   vote                                 every rank finite, same step, same plan?
//   apply(bucket, answer) for every bucket, then commit(next)     | or rollback()
//
// A local step (Phase::skip) is next_plan(), apply(bucket, this rank's gradient), commit(next).
//
// Before apply() no call changes the committed state, so that a step can be skipped, or encoded
// again with another clip coefficient (rollback(), then message() again). All tensors are flat fp32
// of the bucket's size, on the parameters' device. Not thread-safe; calls never overlap.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/state.h"
#include "comm/bucket.h"

namespace terse {

enum class Phase : uint8_t {
  skip,   // a local step: this rank alone, nothing is exchanged, not even a vote
  dense,  // messages are averaged exactly
  codec,  // messages are compressed, with error feedback
};

// Decided by rank 0, carried to all by the previous step's vote. After a local step, which has no
// vote, every rank takes its own: who plans local steps must plan from what all ranks share.
struct PhasePlan {
  Phase phase = Phase::dense;
  // A new epoch zeroes the residuals: what is compressed changed its meaning.
  int64_t residual_epoch = 0;
  // What a codec that drops elements keeps in this phase (Exchange::set_density); 0: its own.
  double density = 0;
  bool operator==(const PhasePlan&) const = default;
};

// What is known before a step's messages are built; the same on all ranks.
struct StepContext {
  int64_t step = 0;  // 1-based number of the step being taken, skipped ones included
  double learning_rate = 0;
  PhasePlan plan;
  // Multiplies the local gradient in message(). 1 in dense phases, where clipping happens in
  // apply() by the norm of the averaged gradient.
  double message_scale = 1;
  // Multiplies the averaged answer in apply(): dense clipping.
  double answer_scale = 1;
  // This rank's gradient of a local step is not finite: apply() goes without it.
  bool missing = false;
};

// The flat tensors of one bucket, owned by the Reducer. `value` holds the fp32 master weights that
// apply() updates in place; `gradient` this rank's accumulated gradient.
struct BucketTensors {
  at::Tensor value;
  at::Tensor gradient;
  // Undefined, or bf16: apply() also writes the new weights rounded to nearest even, which saves
  // the forward a pass over the weights.
  at::Tensor rounded;
};

struct VarianceFreeze {
  int64_t step = -1;   // the step after which it stays as it is; -1: it still moves
  std::string reason;  // empty in a process that did not see it
};

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual std::string name() const = 0;

  // Called once, before the first step: allocates state. `tensors[i]` belongs to buckets[i].
  virtual void attach(const BucketPlan& plan, std::span<const BucketTensors> tensors) = 0;

  // The plan for `step`, assuming that the step now in progress (step - 1) will be committed.
  // Called before that step is applied; 1 asks for the first step's plan. Changes no state.
  virtual PhasePlan next_plan(int64_t step) = 0;

  // [exchange] codec = "auto": whether compressing would be faster than averaging densely. While
  // not, an optimizer that has not begun to compress plans dense phases. Before the first step,
  // after load() and at commits; the same on all ranks.
  virtual void allow_compression(bool allowed) { (void)allowed; }

  // Fills `out` with what is to be averaged. `out` may be the bucket's gradient itself (dense
  // phases). Changes nothing else. Returns the sum of squares of the gradient, unscaled, which
  // comes for nothing while the gradient is read; not finite exactly if an element is not.
  virtual double message(const StepContext& context, int64_t bucket, at::Tensor out) = 0;

  // The codec reports which coordinates it sent (sparse codecs only; DGC masks its velocity).
  virtual void sent(int64_t bucket, std::span<const int64_t> coordinates) {
    (void)bucket, (void)coordinates;
  }

  // The step is skipped or encoded again: forget what sent() reported.
  virtual void rollback() {}

  // Coordinates that can never move (1-bit Adam: no variance when it froze), the same on all ranks:
  // bit i % 64 of int64 word i / 64 is set if element i is live; undefined if all are. A codec that
  // cannot say 0 leaves dead ones out of scales, residuals and sums; apply() ignores their answer.
  // Changes only in commit() and load().
  virtual at::Tensor live(int64_t bucket) const {
    (void)bucket;
    return {};
  }

  // Updates `value` of the bucket from the averaged message, after the vote only; in a local step
  // from this rank's gradient. May overwrite the gradient, which is zeroed after the step. In a
  // codec phase may also keep `answer` and put another tensor of its own in its place, of the same
  // size and any content: what becomes state need not be copied.
  virtual void apply(const StepContext& context, int64_t bucket, at::Tensor& answer) = 0;
  // All buckets were applied. `next` is the plan of the step to come: what its phase needs is
  // prepared here (freezing the variance), so that a checkpoint holds it.
  virtual void commit(const StepContext& context, const PhasePlan& next) = 0;

  // When AdamW's variance became fixed ([optim] variance_steps), for those whose schedule begins
  // there. The same on all ranks; changes only in commit() and load().
  virtual VarianceFreeze variance_freeze() const { return {}; }

  // Why the phase changed last, with the numbers it rests on; "" where the schedule is fixed.
  virtual std::string reason() const { return {}; }

  virtual void save(StateWriter& state) const = 0;
  virtual void load(const StateReader& state) = 0;
};

}  // namespace terse
