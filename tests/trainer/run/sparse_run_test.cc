// Training behind a mask, in one process: resuming at every step of a run gives the same bytes,
// with each schedule and gradient flow; evaluation and checkpoints see the hard mask at every step.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>

#include "sparsity/mask.h"
#include "tests/support/temporary_directory.h"
#include "trainer/data/shard.h"
#include "trainer/session.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

constexpr int64_t kSteps = 60;

std::string recipe_text(const std::string& sparsity) {
  return "[model]\nlayers = 1\nwidth = 32\nheads = 2\nhidden = 64\ncontext = 8\n"
         "[train]\nsteps = 60\nbatch_tokens = 32\nseed = 3\ncompute = \"bf16\"\n"
         "[optim]\nlr = 1e-2\n[sparsity]\n" +
         sparsity;
}

class SparseRun : public ::testing::Test {
 protected:
  SparseRun() {
    std::vector<int32_t> tokens;
    for (uint32_t state = 1; tokens.size() < 4000;) {
      state = state * 1664525u + 1013904223u;
      tokens.push_back(static_cast<int32_t>((state >> 24) % 17 + tokens.size() % 3));
    }
    for (const std::string& name : {data_.train, data_.valid})
      write_shard(FileSystem::real(), name, tokens, 32);
  }

  std::unique_ptr<Session> session(const std::string& sparsity) const {
    const Recipe recipe = parse_recipe(recipe_text(sparsity), "test");
    return std::make_unique<Session>(recipe, Group::single(), data_, at::kCPU, 0, 1);
  }

  TemporaryDirectory folder_;
  DataFiles data_{folder_ / "train.bin", folder_ / "valid.bin", 32, 1};
};

std::shared_ptr<MemoryState> saved(Session& session) {
  auto state = std::make_shared<MemoryState>();
  session.save(*state);
  return state;
}

void expect_same(const MemoryState& a, const MemoryState& b) {
  ASSERT_EQ(a.names(), b.names());
  for (const std::string& name : a.names()) {
    const auto x = a.tensor(Scope::shared, name, 0), y = b.tensor(Scope::shared, name, 0);
    EXPECT_TRUE(x->data.size() == y->data.size() &&
                std::memcmp(x->data.data(), y->data.data(), x->data.size()) == 0)
        << name;
  }
}

// If one step from the state after k gives the state after k + 1, for every k, then so does every
// resumption.
TEST_F(SparseRun, SlowResumingAtEveryStepGivesTheSameBytes) {
  const std::string patterns[] = {
      "pattern = \"2:4\"\n",
      "pattern = \"1:8\"\nschedule = \"mask_linear\"\ndense = 7\n",
      "pattern = \"1:8\"\nschedule = \"mask_exponential\"\nestimator = \"srste\"\n",
      "pattern = \"1:8\"\nschedule = \"structure_stepwise\"\nestimator = \"srste_decoupled\"\n",
      "pattern = \"1:4\"\nschedule = \"structure_geometric\"\ndense = 3\nfine = 11\n",
      "pattern = \"unstructured:0.9\"\nschedule = \"gradual\"\nestimator = \"hard\"\n",
      "pattern = \"2:4\"\nschedule = \"mask_linear\"\n[qat]\ntarget = \"none\"\n"
      "weight_bits = 4\nact_bits = 8\nhadamard = 32\nignore = [\"lm_head\"]\n",
  };
  for (const std::string& sparsity : patterns) {
    SCOPED_TRACE(sparsity);
    auto run = session(sparsity);
    std::vector<std::shared_ptr<MemoryState>> states = {saved(*run)};
    for (int64_t k = 0; k < kSteps; ++k) {
      run->train_step();
      states.push_back(saved(*run));
    }
    for (int64_t k = 0; k < kSteps; ++k) {
      auto resumed = session(sparsity);
      resumed->load(*states[static_cast<size_t>(k)]);
      resumed->train_step();
      expect_same(*saved(*resumed), *states[static_cast<size_t>(k + 1)]);
      if (HasFailure()) FAIL() << "resumed after step " << k;
    }
  }
}

int64_t nonzero(const Artifact& artifact, const std::string& name) {
  int64_t count = 0;
  for (const float x : effective_values(artifact.weight(name))) count += x != 0.0f;
  return count;
}

TEST_F(SparseRun, EvaluationAndCheckpointSeeTheHardMaskAtEveryStep) {
  auto run = session("pattern = \"1:8\"\nschedule = \"mask_exponential\"\ndense = 5\n");
  LlamaOptions options = parse_recipe(recipe_text(""), "test").model;
  options.vocab = 32;
  for (int64_t k = 0; k < 12; ++k) {
    const auto state = saved(*run);
    const Artifact artifact = artifact_of(state, options, at::kBFloat16);
    EXPECT_EQ(artifact.weight("model.layers.0.mlp.up_proj.weight").pattern, "1:8");
    EXPECT_EQ(nonzero(artifact, "model.layers.0.mlp.up_proj.weight"), 64 * 32 / 8);
    EXPECT_EQ(nonzero(artifact, "model.layers.0.self_attn.k_proj.weight"), 32 * 32 / 8);
    EXPECT_EQ(nonzero(artifact, "lm_head.weight"), 32 * 32 / 8);
    // The exact loss of what would be exported now, and not that of the weights in training.
    const auto served = model_of(artifact, {}, {});
    const double expected =
        evaluate_record(*served, TokenShard(data_.valid), Group::single(), 0, 1).loss;
    EXPECT_EQ(run->evaluate_now(0).loss, expected) << k;
    EXPECT_NE(evaluate_record(run->model(), TokenShard(data_.valid), Group::single(), 0, 1).loss,
              expected);
    run->train_step();
  }
}

}  // namespace
}  // namespace terse
