// Training behind a mask, in one process: resuming at every step of a run gives the same bytes,
// with each schedule and gradient flow; evaluation and checkpoints see the hard mask at every step.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "sparsity/mask.h"
#include "tests/trainer/run/small_session.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

using SparseRun = SmallSession;

TEST_F(SparseRun, SlowResumingAtEveryStepGivesTheSameBytes) {
  for (const char* sparsity : {
           "pattern = \"2:4\"\n",
           "pattern = \"1:8\"\nschedule = \"mask_linear\"\ndense = 7\n",
           "pattern = \"1:8\"\nschedule = \"mask_exponential\"\nestimator = \"srste\"\n",
           "pattern = \"1:8\"\nschedule = \"structure_stepwise\"\nestimator = "
           "\"srste_decoupled\"\n",
           "pattern = \"1:4\"\nschedule = \"structure_geometric\"\ndense = 3\nfine = 11\n",
           "pattern = \"unstructured:0.9\"\nschedule = \"gradual\"\nestimator = \"hard\"\n",
           "pattern = \"2:4\"\nschedule = \"mask_linear\"\n[qat]\ntarget = \"none\"\n"
           "weight_bits = 4\nact_bits = 8\nhadamard = 32\nignore = [\"lm_head\"]\n",
       })
    resume_at_every_step(std::string("[sparsity]\n") + sparsity);
}

// STEP: the variance settles somewhere in the run, and masks begin there.
TEST_F(SparseRun, SlowResumingAtEveryStepOfStepGivesTheSameBytes) {
  resume_at_every_step(
      "variance_steps = -1\neps = 1e-5\nbetas = [0.9, 0.9]\n"
      "[sparsity]\npattern = \"1:4\"\ndense = -1\nschedule = \"mask_linear\"\n");
}

TEST_F(SparseRun, StepsMasksBeginWhereTheVarianceStays) {
  const std::string step = "[sparsity]\npattern = \"2:4\"\ndense = -1\n";
  for (const auto& [optim, earliest, latest] :
       {std::tuple{"variance_steps = 13\n", int64_t{13}, int64_t{13}},
        // Changes of the variance are below 1e-5 here from early on.
        std::tuple{"variance_steps = -1\neps = 1e-5\nbetas = [0.9, 0.9]\n", int64_t{10},
                   int64_t{29}}}) {
    auto run = session(optim + step);
    int64_t first = -1, decided = -1;
    for (int64_t k = 1; k <= 40; ++k) {
      const StepRecord record = run->train_step();
      EXPECT_EQ(record.stage, first >= 0 || record.stage != "dense" ? "progressive" : "dense");
      if (record.stage != "dense" && first < 0) first = k;
      for (const ExchangeDecision& d : run->take_decisions())
        if (d.what == "variance") decided = k;
    }
    EXPECT_EQ(first, decided + 1) << optim;
    EXPECT_GE(decided, earliest) << optim;
    EXPECT_LE(decided, latest) << optim;
  }
}

// What metrics.jsonl says of the masks is what the forward did.
TEST_F(SparseRun, RecordsTellTheMasks) {
  auto run = session(
      "[sparsity]\npattern = \"1:8\"\nschedule = \"structure_stepwise\"\ndense = 5\nfine = 7\n");
  MaskSchedule schedule;
  schedule.kind = MaskSchedule::Kind::structure_stepwise;
  schedule.pattern = {1, 8};
  schedule.steps = kSteps;
  schedule.dense = 5;
  schedule.fine = 7;
  double changed = 0;
  for (int64_t k = 0; k < kSteps; ++k) {
    const StepRecord record = run->train_step();
    const MaskState state = schedule.at(k), next = schedule.at(k + 1);
    const auto decisions = run->take_decisions();
    const bool changes = state.stage != next.stage || state.pattern != next.pattern;
    ASSERT_EQ(decisions.size(), changes ? 1u : 0u) << k;
    if (changes) {
      EXPECT_EQ(decisions.front().what, "masks");
    }
    EXPECT_EQ(record.stage, stage_name(state.stage));
    EXPECT_EQ(record.pattern, state.masked ? to_string(state.pattern) : "");
    EXPECT_EQ(record.beta, state.beta);
    // A frame that drops from 4:8 to 2:8 takes at least a quarter of all elements with it.
    if (schedule.at(k + 1).pattern.keep * 2 == state.pattern.keep && state.masked) {
      EXPECT_GE(record.mask_changed,
                static_cast<double>(state.pattern.keep) / static_cast<double>(16));
      ++changed;
    }
  }
  EXPECT_EQ(changed, 2);
  EXPECT_EQ(session("")->train_step().stage, "");
}

int64_t nonzero(const Artifact& artifact, const std::string& name) {
  int64_t count = 0;
  for (const float x : effective_values(artifact.weight(name))) count += x != 0.0f;
  return count;
}

TEST_F(SparseRun, EvaluationAndCheckpointSeeTheHardMaskAtEveryStep) {
  auto run = session("[sparsity]\npattern = \"1:8\"\nschedule = \"mask_exponential\"\ndense = 5\n");
  const ModelShape shape = model_shape();
  const auto valid = data_.validation(8);
  for (int64_t k = 0; k < 12; ++k) {
    const auto state = saved(*run);
    const Artifact artifact = artifact_of(state, shape, {}, at::kBFloat16);
    EXPECT_EQ(artifact.weight("model.layers.0.mlp.up_proj.weight").pattern, "1:8");
    EXPECT_EQ(nonzero(artifact, "model.layers.0.mlp.up_proj.weight"), 64 * 32 / 8);
    EXPECT_EQ(nonzero(artifact, "model.layers.0.self_attn.k_proj.weight"), 32 * 32 / 8);
    EXPECT_EQ(nonzero(artifact, "lm_head.weight"), 32 * 32 / 8);
    // The exact loss of what would be exported now, and not that of the weights in training.
    const auto served = model_of(artifact, {});
    const double expected = evaluate_record(*served, *valid, Group::single(), 0).loss;
    EXPECT_EQ(run->evaluate_now(0).loss, expected) << k;
    EXPECT_NE(evaluate_record(run->model(), *valid, Group::single(), 0).loss, expected);
    run->train_step();
  }
}

}  // namespace
}  // namespace terse
