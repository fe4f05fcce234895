// Training with a teacher, in one process.
#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "export/formats.h"
#include "tests/support/temporary_directory.h"
#include "trainer/data/shard.h"
#include "trainer/session.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

using testing::HasSubstr;

std::string recipe_text(const std::string& more) {
  return "[model]\nlayers = 2\nwidth = 32\nheads = 2\nhidden = 64\ncontext = 8\n"
         "[train]\nsteps = 20\nbatch_tokens = 64\nseed = 3\n[optim]\nlr = 1e-2\n" +
         more;
}

class DistillRun : public ::testing::Test {
 protected:
  DistillRun() {
    std::vector<int32_t> tokens;
    for (uint32_t state = 1; tokens.size() < 2000;) {
      state = state * 1664525u + 1013904223u;
      tokens.push_back(static_cast<int32_t>((state >> 24) % 17 + tokens.size() % 3));
    }
    for (const std::string& name : {data_.train, data_.valid})
      write_shard(FileSystem::real(), name, tokens, 32);
  }

  // A new model of this recipe, exported.
  std::string teacher(const std::string& name, const std::string& recipe) const {
    const Recipe parsed = parse_recipe(recipe, "teacher");
    const auto model = make_model(parsed, data_, {});
    auto state = std::make_shared<MemoryState>();
    save_model(*model, *state);
    const Artifact artifact =
        artifact_of(state, shape_of(parsed.model, data_), parsed.qat, at::kBFloat16);
    export_artifact(FileSystem::real(), artifact, resolve_format("hf"), folder_ / name);
    return folder_ / name;
  }
  std::unique_ptr<Session> session(const std::string& text) const {
    return std::make_unique<Session>(parse_recipe(text, "test"), Group::single(), data_, at::kCPU,
                                     0, 1);
  }
  std::string with_teacher(const std::string& path, const std::string& keys) const {
    return recipe_text("[distill]\nteacher = \"" + path + "\"\n" + keys);
  }
  std::string message_of(const std::string& text) const {
    try {
      session(text);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::usage);
      return error.what();
    }
    return "";
  }

  TemporaryDirectory folder_;
  DataFiles data_{folder_ / "train.bin", folder_ / "valid.bin", 32, 1, std::nullopt};
};

// The exported weights compute the same bits, so there is nothing to learn from oneself.
TEST_F(DistillRun, OwnWeightsAreAPerfectTeacher) {
  const std::string self = teacher("self", recipe_text(""));
  const auto run = session(with_teacher(self, "task = 0\ntemperature = 2\nsquarehead = 1\n"));
  const StepRecord step = run->train_step();
  EXPECT_EQ(step.loss, 0.0);
  EXPECT_EQ(step.gradient_norm, 0.0);
}

TEST_F(DistillRun, TheStudentApproachesItsTeacher) {
  std::string other = recipe_text("");
  other.replace(other.find("seed = 3"), 8, "seed = 9");
  const std::string keys = "task = 0\nsquarehead = 1\n";
  const auto run = session(with_teacher(teacher("other", other), keys));
  const double first = run->train_step().loss;
  StepRecord last;
  while (run->step() < 20) last = run->train_step();
  EXPECT_LT(last.loss, 0.8 * first);  // the gap halves in some 20 steps; an ignored one stays
}

// Loss and gradient are means over examples, however the batch is cut: the same up to bf16 products
// of other heights, and the same bits with recompute.
TEST_F(DistillRun, MicroBatchesAndRecomputeChangeNothing) {
  std::string other = recipe_text("");
  other.replace(other.find("seed = 3"), 8, "seed = 9");
  const std::string path = teacher("other", other);
  const std::string keys = "temperature = 2\nsquarehead = 0.5\n";
  const auto step_with = [&](const std::string& train_key) {
    std::string text = with_teacher(path, keys);
    text.replace(text.find("seed = 3"), 8, "compute = \"fp32\"\n" + train_key + "\nseed = 3");
    return session(text)->train_step();
  };
  const StepRecord whole = step_with(""), cut = step_with("micro_tokens = 16"),
                   again = step_with("recompute = true");
  EXPECT_NEAR(cut.loss, whole.loss, 1e-6 * whole.loss);
  EXPECT_NEAR(cut.gradient_norm, whole.gradient_norm, 1e-5 * whole.gradient_norm);
  EXPECT_EQ(again.loss, whole.loss);
  EXPECT_EQ(again.gradient_norm, whole.gradient_norm);
}

TEST_F(DistillRun, ResumesWithTheSameTeacherOnly) {
  std::string other = recipe_text("");
  other.replace(other.find("seed = 3"), 8, "seed = 9");
  const std::string path = teacher("other", other), keys = "squarehead = 1\n";
  const std::string text = with_teacher(path, keys);
  auto run = session(text);
  for (int i = 0; i < 3; ++i) run->train_step();
  MemoryState state;
  run->save(state);
  const auto resumed = session(text);
  resumed->load(state);
  EXPECT_EQ(resumed->train_step().loss, run->train_step().loss);

  for (const std::string& wrong : {teacher("self", recipe_text("")), std::string()}) {
    MemoryState without;
    if (wrong.empty()) session(recipe_text(""))->save(without);
    try {
      session(wrong.empty() ? text : with_teacher(wrong, keys))
          ->load(wrong.empty() ? without : state);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::invalid_file);
      EXPECT_THAT(error.what(), HasSubstr("the checkpoint was trained with "));
    }
  }
}

TEST_F(DistillRun, TeachersThatDoNotFitAreRefused) {
  std::string deeper = recipe_text("");
  deeper.replace(deeper.find("layers = 2"), 10, "layers = 3");
  const std::string path = teacher("deeper", deeper);
  EXPECT_THAT(message_of(with_teacher(path, "squarehead = 1\n")),
              HasSubstr("it has 3 layers of width 32, the student 2 of 32"));
  EXPECT_EQ(message_of(with_teacher(path, "")), "");
  std::string shorter = recipe_text("");
  shorter.replace(shorter.find("context = 8"), 11, "context = 4");
  EXPECT_THAT(message_of(with_teacher(teacher("shorter", shorter), "")),
              HasSubstr("its context is 4, the student's 8"));
}

}  // namespace
}  // namespace terse
