#include "trainer/recipe/deepspeed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "trainer/recipe/recipe.h"

namespace terse {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string message_of(std::string_view text, const NamedText& config = {},
                       const std::vector<std::string>& sets = {}) {
  try {
    parse_recipe(text, "r.toml", sets, config);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(DeepSpeed, KeysInOptimAreTranslatedAloud) {
  const Recipe recipe = parse_recipe(
      "[optim]\ntype = \"OneBitAdam\"\nlr = 2e-4\nfreeze_step = 400\nbetas = [0.9, 0.99]\n"
      "cuda_aware = false\ncomm_backend_name = \"mpi\"\nmax_grad_norm = 0.5\n",
      "r.toml");
  EXPECT_EQ(recipe.optim.name, "onebit_adam");
  EXPECT_EQ(recipe.exchange.codec, "onebit");
  EXPECT_EQ(recipe.optim.freeze, 400);
  EXPECT_EQ(recipe.optim.lr, 2e-4);
  EXPECT_EQ(recipe.train.clip, 0.5);
  EXPECT_THAT(
      recipe.translations,
      ElementsAre("freeze_step = 400 (DeepSpeed, r.toml:4:1) -> [optim] freeze = 400",
                  "max_grad_norm = 0.5 (DeepSpeed, r.toml:8:1) -> [train] clip = 0.5",
                  AllOf(HasSubstr("comm_backend_name = \"mpi\" (DeepSpeed, r.toml:7:1) -> ignored"),
                        HasSubstr("--backend")),
                  HasSubstr("cuda_aware = false (DeepSpeed, r.toml:6:1) -> ignored"),
                  "type = \"OneBitAdam\" (DeepSpeed, r.toml:2:1) -> [optim] name = "
                  "\"onebit_adam\", [exchange] codec = \"onebit\""));
}

// The parameters of DeepSpeed's 0/1 Adam tutorial, in a recipe and in a configuration.
TEST(DeepSpeed, ZeroOneAdamIsTranslatedAloud) {
  const Recipe recipe = parse_recipe(
      "[train]\nsteps = 900000\n[optim]\ntype = \"ZeroOneAdam\"\nvar_freeze_step = 12500\n"
      "var_update_scaler = 16\nlocal_step_scaler = 32678\nlocal_step_clipper = 8\n",
      "r.toml");
  EXPECT_EQ(recipe.optim.name, "zero_one_adam");
  EXPECT_EQ(recipe.exchange.codec, "onebit");
  EXPECT_EQ(recipe.optim.freeze, 12500);
  EXPECT_EQ(recipe.optim.refresh_doubling, 16);
  EXPECT_EQ(recipe.optim.local_doubling, 32678);
  EXPECT_EQ(recipe.optim.local_steps, 8);
  EXPECT_THAT(recipe.translations,
              Contains("local_step_clipper = 8 (DeepSpeed, r.toml:8:1) -> [optim] local_steps = "
                       "8"));
  const Recipe config = parse_recipe("[train]\nsteps = 900\n", "r.toml", {},
                                     {"ds.json", R"({"optimizer": {"type": "ZeroOneAdam",
        "params": {"lr": 1e-3, "var_freeze_step": 100, "local_step_clipper": 4}}})"});
  EXPECT_EQ(config.optim.name, "zero_one_adam");
  EXPECT_EQ(config.optim.freeze, 100);
  EXPECT_EQ(config.optim.local_steps, 4);
  EXPECT_EQ(config.optim.local_doubling, 32678);  // DeepSpeed's default, said aloud
  EXPECT_THAT(config.translations,
              Contains("DeepSpeed's default (DeepSpeed, ds.json) -> [optim] local_doubling = "
                       "32678"));
}

TEST(DeepSpeed, RecipesOfOurOwnAreLeftAlone) {
  const Recipe ours = parse_recipe("[optim]\nfreeze = 400\n", "r.toml");
  const Recipe theirs = parse_recipe("[optim]\nfreeze_step = 400\n", "r.toml");
  EXPECT_THAT(ours.translations, IsEmpty());
  EXPECT_EQ(ours.hash(), theirs.hash());
  // A resolved recipe speaks our words only.
  EXPECT_THAT(parse_recipe(theirs.resolved(), "again").translations, IsEmpty());
}

TEST(DeepSpeed, SetsMaySpeakEitherLanguage) {
  const char* text = "[optim]\nfreeze_step = 400\n";
  EXPECT_EQ(parse_recipe(text, "r.toml", {"optim.freeze=7"}).optim.freeze, 7);
  EXPECT_EQ(parse_recipe(text, "r.toml", {"optim.freeze_step=7"}).optim.freeze, 7);
}

TEST(DeepSpeed, ContradictionsAndUnknownOptimizersAreProblems) {
  EXPECT_THAT(message_of("[optim]\nfreeze = 1\nfreeze_step = 2\n"),
              HasSubstr("r.toml:3:1: DeepSpeed's 'freeze_step' is [optim] freeze, which is there"));
  EXPECT_THAT(message_of("[optim]\ntype = \"OneBitLamb\"\n"),
              HasSubstr("r.toml:2:1: [optim] type: terse has no counterpart of DeepSpeed's "
                        "optimizer \"OneBitLamb\""));
  // Still checked as ours.
  EXPECT_THAT(message_of("[optim]\nfreeze_step = -1\n"),
              HasSubstr("r.toml:2:1: [optim] freeze: -1"));
}

// DeepSpeed's own example of its 1-bit Adam tutorial, with a batch that this recipe can share.
constexpr const char* kConfig = R"({
  "train_batch_size": 16,
  "train_micro_batch_size_per_gpu": 8,
  "optimizer": {
    "type": "OneBitAdam",
    "params": {"lr": 4e-4, "freeze_step": 300, "cuda_aware": false, "comm_backend_name": "nccl"}
  },
  "gradient_clipping": 0.25,
  "zero_optimization": {"stage": 1},
  "fp16": {"enabled": false}
})";

TEST(DeepSpeed, AConfigurationGoesOverTheRecipe) {
  const Recipe recipe = parse_recipe("[model]\ncontext = 128\n[optim]\nname = \"adamw\"\nlr = 1\n",
                                     "r.toml", {}, {"ds.json", kConfig});
  EXPECT_EQ(recipe.train.batch_tokens, 16 * 128);
  EXPECT_EQ(recipe.train.micro_tokens, 8 * 128);
  EXPECT_EQ(recipe.train.clip, 0.25);
  EXPECT_EQ(recipe.train.compute, "fp32");
  EXPECT_EQ(recipe.optim.name, "onebit_adam");
  EXPECT_EQ(recipe.exchange.codec, "onebit");
  EXPECT_EQ(recipe.optim.lr, 4e-4);
  EXPECT_EQ(recipe.optim.freeze, 300);
  // DeepSpeed's defaults, since neither says anything.
  EXPECT_EQ(recipe.optim.weight_decay, 0);
  EXPECT_EQ(recipe.optim.beta2(), 0.999);
  EXPECT_EQ(recipe.optim.schedule, "constant");
  EXPECT_THAT(
      recipe.translations,
      AllOf(Contains("optimizer.params.freeze_step (DeepSpeed, ds.json) -> [optim] freeze "
                     "= 300"),
            Contains("train_batch_size (DeepSpeed, ds.json) -> [train] batch_tokens = 2048"),
            Contains(HasSubstr("zero_optimization (DeepSpeed, ds.json) -> ignored")),
            Contains(HasSubstr("-> [optim] weight_decay = 0.0"))));
}

TEST(DeepSpeed, TheRecipeBeatsDefaultsAndSetBeatsTheConfiguration) {
  const Recipe recipe = parse_recipe("[optim]\nweight_decay = 0.3\n", "r.toml",
                                     {"optim.freeze=9", "optim.lr=5"}, {"ds.json", kConfig});
  EXPECT_EQ(recipe.optim.weight_decay, 0.3);
  EXPECT_EQ(recipe.optim.freeze, 9);
  EXPECT_EQ(recipe.optim.lr, 5);
}

TEST(DeepSpeed, SchedulersOfTheConfiguration) {
  const Recipe recipe = parse_recipe(
      "", "r.toml", {}, {"ds.json", R"({"scheduler": {"type": "WarmupCosineLR", "params":
        {"total_num_steps": 500, "warmup_num_steps": 50, "cos_min_ratio": 0.2}}})"});
  EXPECT_EQ(recipe.optim.schedule, "cosine");
  EXPECT_EQ(recipe.train.steps, 500);
  EXPECT_EQ(recipe.optim.warmup, 50);
  EXPECT_EQ(recipe.optim.min_lr, 0.2);
  EXPECT_THAT(message_of("", {"ds.json", R"({"scheduler": {"type": "OneCycle"}})"}),
              HasSubstr("ds.json: scheduler.type: \"OneCycle\" has no counterpart"));
}

TEST(DeepSpeed, WrongConfigurationsAreProblemsNotCrashes) {
  EXPECT_THAT(message_of("", {"ds.json", "{\"a\": "}), HasSubstr("ds.json: is no JSON object"));
  EXPECT_THAT(message_of("", {"ds.json", "[]"}), HasSubstr("ds.json: is no JSON object"));
  EXPECT_THAT(message_of("", {"ds.json", R"({"optimizer": 3, "scheduler": null,
                               "train_batch_size": "auto", "gradient_clipping": {}})"}),
              AllOf(HasSubstr("ds.json: optimizer: expected an object"),
                    HasSubstr("ds.json: scheduler.type: this has no counterpart"),
                    HasSubstr("ds.json: train_batch_size: expected an integer"),
                    HasSubstr("ds.json: gradient_clipping: [train] clip: expected a number")));
  EXPECT_THAT(message_of("", {"ds.json", R"({"optimizer": {"type": "OneBitAdam", "params":
                               {"freeze_step": "auto", "max_coeff": 10}}})"}),
              AllOf(HasSubstr("ds.json: optimizer.params.freeze_step: [optim] freeze: expected an "
                              "integer, found a text"),
                    HasSubstr("unknown key 'max_coeff' in [optim]")));
}

}  // namespace
}  // namespace terse
