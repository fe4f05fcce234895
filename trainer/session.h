// Session: everything one rank holds while it trains, and what one step does to it.
//
//   Session session(recipe, group, data, device);
//   if (resuming) session.load(checkpoint);
//   while (session.step() < recipe.train.steps) {
//     StepRecord record = session.train_step(stop_requested());
//     if (session.stop_agreed()) ...
//     session.save(writer);
//   }
//
// All methods but step() and the accessors are collective: every rank calls them in the same order.
// One thread.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

#include "base/state.h"
#include "comm/group.h"
#include "comm/reducer.h"
#include "trainer/data/batcher.h"
#include "trainer/data_files.h"
#include "trainer/evaluate.h"
#include "trainer/faults.h"
#include "trainer/model/model.h"
#include "trainer/recipe/recipe.h"
#include "trainer/teacher.h"
#include "trainer/telemetry/records.h"

namespace terse {

class Session {
 public:
  // Builds model, teacher, optimizer and exchange, and connects the gradients to the group.
  // `restart`: how often the launcher restarted this job (trainer/faults.h).
  Session(const Recipe& recipe, Group group, const DataFiles& data, at::Device device, int restart,
          int64_t ranks_per_node);

  int64_t step() const { return step_; }  // steps taken so far, skipped ones included
  Model& model() { return *model_; }
  const Reducer& reducer() const { return reducer_; }
  // What was decided since the last call, each for the step to come: by the exchange, that the
  // variance is fixed, and how the masks go on.
  std::vector<ExchangeDecision> take_decisions();
  double epochs() const { return batcher_.epochs(); }

  // Forward, backward, exchange, vote, commit. Error as comm/reducer.h says.
  // `stop`: this rank was asked to end; whether any was, stop_agreed() then says on all ranks.
  StepRecord train_step(bool stop = false);
  bool stop_agreed() const { return stop_agreed_; }
  int64_t missing() const { return missing_; }  // StepResult::missing of the last step
  // Where the checkpoint of this step goes (trainer/faults.h may say that it is full).
  FileSystem& disk() const { return faults_.disk(step_); }
  // On the first `examples` of the validation data (0 = all).
  EvalRecord evaluate_now(int64_t examples);
  // Between two meetings of 0/1 Adam the ranks' weights differ: what follows waits for the next.
  bool in_sync() const { return reducer_.in_sync(); }
  // Error(disagree) if the replicas have drifted apart.
  void check_replicas() { reducer_.check_replicas(); }

  void save(StateWriter& state);
  void load(const StateReader& state);

 private:
  static constexpr int64_t kResidualEvery = 10;  // steps

  double accumulate(const Batch& batch, bool poisoned);
  at::Tensor loss(const at::Tensor& batch);
  void calibrate();
  void follow_variance();
  void describe_masks(const MaskState& forward, StepRecord& record);
  double residual_norm(Phase phase);
  // Runs `use` with the weights as they are served, whatever the masks' schedules say of this step.
  template <typename Use>
  void served(const Use& use);

  const Recipe recipe_;
  Group group_;
  Faults faults_;
  DataFiles data_;
  std::unique_ptr<const Examples> train_, valid_;
  std::unique_ptr<Model> model_;
  std::unique_ptr<Teacher> teacher_;  // none without [distill]
  Batcher batcher_;
  Reducer reducer_;
  int64_t step_ = 0;
  bool stop_agreed_ = false;
  int64_t missing_ = 0;
  double residual_norm_ = 0;  // as last measured
  std::vector<ExchangeDecision> decisions_;
};

// The recipe's [train] compute as the model takes it, on this rank's device (trainer/connect.h).
ComputeOptions compute_options(const TrainOptions& options, at::Device device);
// Only the number type: for a run that was trained on another machine.
at::ScalarType compute_type(const TrainOptions& options);

// Evaluates any model on `valid`; shared by training, `terse eval` and the closing evaluation.
// `between`: as EvaluateOptions.
EvalRecord evaluate_record(Model& model, const Examples& valid, const Group& group,
                           int64_t examples, const std::function<void()>& between = {});

}  // namespace terse
