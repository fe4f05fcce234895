// Other models and losses, as users run them: a vision transformer from data to export, stopped and
// gone on with; distillation on two ranks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/fault/small_run.h"
#include "trainer/data/images.h"

namespace terse {
namespace {

using ::testing::HasSubstr;

testing::Exit terse(std::vector<std::string> arguments) {
  testing::Launch launch;
  arguments.insert(arguments.begin(), TERSE_PROGRAM);
  launch.command = arguments;
  return testing::run_ranks(launch).exits.at(0);
}

// Images of 4 x 4 pixels whose class is the brightest of their four quarters.
void write_quarters(const std::string& path, int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int64_t> rows;
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int64_t>(random() % 4);
    for (int64_t y = 0; y < 4; ++y)
      for (int64_t x = 0; x < 4; ++x)
        rows.push_back(static_cast<int64_t>(random() % 4) + ((y / 2) * 2 + x / 2 == label ? 3 : 0));
    rows.push_back(label);
  }
  write_images(FileSystem::real(), path, {1, 4, 4, 4, 6}, rows);
}

class Images : public ::testing::Test {
 protected:
  Images() {
    FileSystem::real().make_directories(folder_ / "data");
    write_quarters(folder_ / "data/train.images", 500, 1);
    write_quarters(folder_ / "data/valid.images", 100, 2);
    std::ofstream(folder_ / "vit.toml")
        << "[model]\nkind = \"vit\"\nlayers = 2\nwidth = 32\nheads = 2\nhidden = 64\npatch = 2\n"
           "[data]\ndir = \""
        << folder_ / "data"
        << "\"\n[train]\nsteps = 60\nbatch_tokens = 32\nthreads = 1\neval_every = 0\n"
           "[optim]\nlr = 5e-3\n[qat]\ntarget = \"gguf:q8_0\"\nignore = [\"head\"]\n"
           "[sparsity]\npattern = \"2:4\"\nschedule = \"mask_linear\"\ntargets = [\"*.mlp.*\"]\n"
           "[checkpoint]\nevery = 25\n[export]\nformat = \"safetensors\"\n";
  }
  testing::Outcome train(const std::string& run, int ranks) {
    testing::Launch launch;
    launch.ranks = ranks;
    launch.command = {TERSE_PROGRAM, "train", folder_ / "vit.toml", "--out", folder_ / run};
    return testing::run_ranks(launch);
  }
  nlohmann::json results(const std::string& run) const {
    return nlohmann::json::parse(read_text(folder_ / run + "/results.json"));
  }
  TemporaryDirectory folder_;
};

TEST_F(Images, SlowFromDataToExportOnOneRankAndTwo) {
  for (const int ranks : {1, 2}) {
    const std::string name = "run" + std::to_string(ranks);
    const testing::Outcome trained = train(name, ranks);
    ASSERT_TRUE(trained.ok()) << trained.text();
    EXPECT_THAT(trained.exits[0].output, HasSubstr("60 of 32 images"));
    const auto closing = results(name).at("evaluations").at(0);
    EXPECT_EQ(closing.at("tokens"), 100);
    EXPECT_GT(closing.at("accuracy").get<double>(), 0.9);  // 1 of 4 by chance
    const testing::Exit eval = terse({"eval", folder_ / name, "--json"});
    ASSERT_EQ(eval.code, 0) << eval.output;
    const auto answer = nlohmann::json::parse(eval.output.substr(eval.output.find('{')));
    EXPECT_EQ(answer.at("accuracy"), closing.at("accuracy"));
    EXPECT_NEAR(answer.at("loss").get<double>(), closing.at("loss").get<double>(), 1e-8);
    const std::string file = folder_ / name + "/model.safetensors";
    EXPECT_EQ(terse({"verify", file, "--against", folder_ / name}).code, 0);
    EXPECT_THAT(read_text(folder_ / name + "/report.html"), HasSubstr("Accuracy"));
    const testing::Exit gguf = terse({"export", folder_ / name, "--format", "gguf", "--out", "x"});
    EXPECT_EQ(gguf.code, 2);
    EXPECT_THAT(gguf.output, HasSubstr("holds Llamas"));
  }
}

TEST_F(Images, SlowAKilledRunGoesOnToTheSameBytes) {
  ASSERT_TRUE(train("whole", 1).ok());
  testing::Launch launch;
  launch.command = {TERSE_PROGRAM, "train", folder_ / "vit.toml", "--out", folder_ / "killed"};
  launch.environment = {{"TERSE_FAULT", "kill:0:40"}};
  EXPECT_FALSE(testing::run_ranks(launch).ok());
  const testing::Exit resumed = terse({"resume", folder_ / "killed"});
  ASSERT_EQ(resumed.code, 0) << resumed.output;
  const auto file = [&](const std::string& run) {
    return read_text(folder_ / run + "/checkpoints/step-00000060/shared.safetensors");
  };
  EXPECT_EQ(file("whole"), file("killed"));
}

// The first step's loss depends on data and weights alone, and those on nothing but the seed.
TEST(Distill, SlowTwoRanksLearnWhatOneDoes) {
  SmallRun small;
  ASSERT_TRUE(small.train("teacher", 1, {"train.steps=30", "optim.freeze=25"}).ok());
  const std::vector<std::string> sets = {"distill.teacher=\"" + small.path("teacher") + "\"",
                                         "distill.squarehead=1.0",
                                         "distill.temperature=2.0",
                                         "train.steps=10",
                                         "train.compute=\"fp32\"",
                                         "train.recompute=true",
                                         "train.micro_tokens=64",
                                         "optim.name=\"adamw\"",
                                         "optim.warmup=2",
                                         "optim.freeze=0",
                                         "exchange.codec=\"fp32\"",
                                         "qat.target=\"\""};
  for (const int ranks : {1, 2}) {
    const testing::Outcome o = small.train("on" + std::to_string(ranks), ranks, sets);
    ASSERT_TRUE(o.ok()) << o.text();
  }
  const auto one = small.losses("on1"), two = small.losses("on2");
  ASSERT_EQ(one.size(), 10u);
  // fp32, other orders of sums; ten steps let rounding grow.
  EXPECT_NEAR(one[0], two[0], 1e-6 * one[0]);
  EXPECT_NEAR(one[9], two[9], 1e-3 * one[9]);
  EXPECT_LT(one[9], 0.9 * one[0]);
  // Another teacher is refused, and the run is as it was.
  const testing::Outcome other =
      small.resume("on1", 1, {"distill.teacher=\"" + small.path("on2") + "\""});
  EXPECT_EQ(other.exits.at(0).code, 5) << other.text();
  EXPECT_THAT(other.text(), HasSubstr("the checkpoint was trained with"));
  const testing::Outcome same = small.resume("on1", 1);
  EXPECT_TRUE(same.ok()) << same.text();
}

}  // namespace
}  // namespace terse
