// Learned steps (LSQ) through training: optimizer, checkpoint, resumption, what is served.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "tests/trainer/run/small_session.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

using ::testing::HasSubstr;

using LearnedRun = SmallSession;

constexpr const char* kLsq =
    "[qat]\ntarget = \"none\"\nweight_bits = 4\nact_bits = 4\nhadamard = 32\nestimator = \"lsq\"\n"
    "ignore = [\"lm_head\"]\n";
constexpr const char* kOnebit =
    "name = \"onebit_adam\"\nfreeze = 20\n[exchange]\ncodec = \"onebit\"\n";

TEST_F(LearnedRun, SlowResumingAtEveryStepGivesTheSameBytes) {
  resume_at_every_step(kLsq);
  resume_at_every_step(std::string(kOnebit) + kLsq);
  resume_at_every_step(std::string("[sparsity]\npattern = \"2:4\"\nschedule = \"mask_linear\"\n") +
                       kLsq);
}

float number(const MemoryState& state, const std::string& name) {
  const auto view = state.tensor(Scope::shared, name, 0);
  if (!view || view->numel() != 1) throw std::runtime_error("no single number " + name);
  return view->as<float>()[0];
}

// Steps are parameters like others, but for weight decay: with a learning rate of 0 nothing moves,
// with weight decay alone everything but steps and norms.
TEST_F(LearnedRun, StepsAreTrainedAndSavedAndDoNotDecay) {
  const std::string down = "model.layers.0.mlp.down_proj";
  auto run = session(kLsq);
  const auto before = saved(*run);
  for (int k = 0; k < 5; ++k) run->train_step();
  const auto after = saved(*run);
  for (const char* step : {".log_step", ".input_log_step"}) {
    const std::string name = down + step;
    EXPECT_NE(number(*before, "model/" + name), number(*after, "model/" + name));
    EXPECT_NE(number(*after, "optim/v/" + name), 0);
  }
  // The step of the input began with what the first tokens made of it, not with ln 1.
  EXPECT_LT(number(*before, "model/" + down + ".input_log_step"), -0.5);
  for (const Bucket& bucket : run->reducer().plan().buckets)
    for (const Segment& s : bucket.segments)
      EXPECT_EQ(s.decay, s.name.ends_with("_proj.weight") || s.name == "lm_head.weight") << s.name;
  EXPECT_THAT(run->reducer().plan().text(), HasSubstr(down + ".log_step"));
}

// The exported Codes and the input's steps compute what the closing evaluation computes.
TEST_F(LearnedRun, ArtifactComputesTheSameLoss) {
  for (const char* qat :
       {kLsq, "[qat]\ntarget = \"gguf:q4_0\"\nestimator = \"lsq\"\nact_bits = 8\n",
        "[qat]\ntarget = \"none\"\nweight_bits = 16\nact_bits = 3\nestimator = \"lsq\"\n"}) {
    SCOPED_TRACE(qat);
    auto run = session(qat);
    for (int k = 0; k < 5; ++k) run->train_step();
    const Recipe recipe = parse_recipe(small_recipe(qat), "test");
    const Artifact artifact = artifact_of(saved(*run), model_shape(), recipe.qat, at::kBFloat16);
    const auto served = model_of(artifact, {});
    const auto valid = data_.validation(8);
    const double trained = run->evaluate_now(0).loss;
    EXPECT_EQ(evaluate_record(*served, *valid, Group::single(), 0).loss, trained);
    const auto& weight = artifact.weight("model.layers.0.mlp.up_proj.weight");
    ASSERT_TRUE(weight.input);
    EXPECT_GT(weight.input->scale, 0.0f);
    EXPECT_EQ(weight.input, artifact.weight("model.layers.0.mlp.gate_proj.weight").input);
    if (weight.compressed()) weight.codes().validate("up_proj");
  }
}

}  // namespace
}  // namespace terse
