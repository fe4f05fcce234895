// The program itself: exit codes, what goes to which stream.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "tests/trainer/data/sample_text.h"
#include "tests/trainer/data/temporary_folder.h"

namespace terse {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct Answer {
  int code = 0;
  std::string out, err;
};

class Program : public testing::Test {
 protected:
  // `words` go through the shell; variables in front of the program.
  Answer run(const std::string& words, const std::string& variables = "") const {
    const std::string program = TERSE_BINARY_DIR "/trainer/cli/terse";
    const std::string command = "cd " + folder_.path() + " && env " + variables + " " + program +
                                " " + words + " >out.txt 2>err.txt </dev/null";
    const int status =
        std::system(command.c_str());  // NOLINT(bugprone-command-processor): our own words
    return {WEXITSTATUS(status), read_text(folder_.file("out.txt")),
            read_text(folder_.file("err.txt"))};
  }
  TemporaryFolder folder_;
};

TEST_F(Program, HelpAndVersionSucceed) {
  for (const char* words : {"", "--help", "--version", "train --help", "train --help-recipe"}) {
    const Answer answer = run(words);
    EXPECT_EQ(answer.code, 0) << words;
    EXPECT_THAT(answer.out, testing::Not(IsEmpty())) << words;
    EXPECT_THAT(answer.err, IsEmpty()) << words;
  }
}

TEST_F(Program, UsageErrorsAreOneLineOnStandardErrorAndCode2) {
  const Answer answer = run("trian recipe.toml");
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.out, IsEmpty());
  EXPECT_THAT(answer.err,
              StartsWith("terse: error: terse has no verb 'trian'; did you mean 'train'?"));
  EXPECT_EQ(std::ranges::count(answer.err, '\n'), 1);
}

TEST_F(Program, WrongRecipeShowsEveryProblemBeforeAnythingIsDone) {
  folder_.write("bad.toml", "[model]\nwidht = 1\n[train]\nsteps = \"many\"\nseed = 1\nseed = 2\n");
  const Answer answer = run("train bad.toml --set optim.name=sgdd --out run");
  EXPECT_EQ(answer.code, 2);
  EXPECT_THAT(answer.err, HasSubstr("bad.toml: 4 problems"));
  EXPECT_THAT(answer.err, HasSubstr("bad.toml:2:1: unknown key 'widht'"));
  EXPECT_THAT(answer.err, HasSubstr("bad.toml:4:1: [train] steps"));
  EXPECT_THAT(answer.err, HasSubstr("bad.toml:6:1: duplicate key"));
  EXPECT_THAT(answer.err, HasSubstr("--set optim.name: [optim] name: 'sgdd'"));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("run")));
}

TEST_F(Program, MissingRecipeAndMissingTextAreNamed) {
  EXPECT_EQ(run("train nowhere.toml").code, 2);
  EXPECT_THAT(run("train nowhere.toml").err, HasSubstr("nowhere.toml: no such recipe"));
  const Answer answer = run("prepare nowhere.txt --out data");
  EXPECT_EQ(answer.code, 5);
  EXPECT_THAT(answer.err, HasSubstr("nowhere.txt"));
}

TEST_F(Program, PrepareAnswersInJsonAlone) {
  folder_.write("a.txt", sample_text(1500));
  const Answer first = run("prepare a.txt --out data --vocab 400 --json");
  ASSERT_EQ(first.code, 0) << first.err;
  const auto json = nlohmann::json::parse(first.out);
  EXPECT_EQ(json["vocab"], 400);
  EXPECT_EQ(json["reused"], false);
  EXPECT_EQ(nlohmann::json::parse(run("prepare a.txt --out data --vocab 400 --json").out)["reused"],
            true);
  folder_.write("empty.txt", "");
  EXPECT_EQ(run("prepare empty.txt --out other").code, 5);
}

TEST_F(Program, PrepareLeavesTheWorkToTheFirstRank) {
  folder_.write("a.txt", sample_text(1500));
  EXPECT_EQ(
      run("prepare a.txt --out data --vocab 400 --rank 1 --world-size 2 --master-addr localhost "
          "--master-port 29511")
          .code,
      0);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("data")));
}

TEST_F(Program, ErrorsOfAJobNameTheRank) {
  const Answer answer =
      run("inspect nowhere.gguf", "RANK=1 WORLD_SIZE=2 MASTER_ADDR=localhost MASTER_PORT=29511");
  EXPECT_EQ(answer.code, 5);
  EXPECT_THAT(answer.err, StartsWith("terse: rank 1: error: "));
}

TEST_F(Program, InspectRefusesWhatItCannotRead) {
  folder_.write("text.gguf", "no model at all");
  const Answer answer = run("inspect text.gguf");
  EXPECT_EQ(answer.code, 5);
  EXPECT_THAT(answer.err, HasSubstr("text.gguf"));
}

TEST_F(Program, DoctorAnswersInJson) {
  const Answer answer = run("doctor --json");
  ASSERT_EQ(answer.code, 0) << answer.err;
  EXPECT_TRUE(nlohmann::json::parse(answer.out).is_object());
}

constexpr const char* kSmall =
    "[model]\nlayers = 1\nwidth = 64\nheads = 2\nhidden = 128\ncontext = 32\n"
    "[data]\nvocab = 512\n[train]\nbatch_tokens = 128\n";

TEST_F(Program, PlanNamesWhatIsWrong) {
  folder_.write("r.toml", kSmall);
  const Answer link = run("plan r.toml --ranks 2 --link fast");
  EXPECT_EQ(link.code, 2);
  EXPECT_THAT(link.err, HasSubstr("'fast' is no link speed; write 100Mbit"));
  const Answer latency = run("plan r.toml --ranks 2 --link 1Gbit --latency soon");
  EXPECT_EQ(latency.code, 2);
  EXPECT_THAT(latency.err, HasSubstr("'soon' is no duration"));
  EXPECT_EQ(run("plan r.toml --ranks 0 --link 1Gbit").code, 2);
  const Answer missing = run("plan nowhere.toml --ranks 2 --link 1Gbit");
  EXPECT_EQ(missing.code, 2);
  EXPECT_THAT(missing.err, HasSubstr("nowhere.toml"));
}

TEST_F(Program, PlanAnswersInJsonWithWhatTheOptimizerCanUse) {
  folder_.write("r.toml", kSmall);
  const Answer answer = run("plan r.toml --ranks 1000 --link 100Mbit --quick --json");
  ASSERT_EQ(answer.code, 0) << answer.err;
  const nlohmann::json json = nlohmann::json::parse(answer.out);
  EXPECT_EQ(json["ranks"], 1000);
  EXPECT_NEAR(json["link_bits"].get<double>(), 1e8, 1);
  EXPECT_EQ(json["exchanges"].size(), 7u);
  for (const auto& e : json["exchanges"]) {
    EXPECT_GT(e["step_seconds"].get<double>(), json["compute_seconds"].get<double>());
    EXPECT_GT(e["memory"]["total"].get<int64_t>(), 16 * json["parameters"].get<int64_t>());
  }
  const Answer dgc =
      run("plan r.toml --ranks 2 --link 1Gbit --quick --set 'optim.name=\"dgc\"' --set "
          "'exchange.codec=\"topk\"'");
  EXPECT_EQ(dgc.code, 0) << dgc.err;
  EXPECT_THAT(dgc.out, HasSubstr("pick: "));
  EXPECT_THAT(dgc.out, testing::Not(HasSubstr("onebit")));
}

TEST_F(Program, LabTakesTheRecipesNames) {
  const Answer codec = run("lab exchange --codec onebitt --in a --out b");
  EXPECT_EQ(codec.code, 2);
  EXPECT_THAT(codec.err, HasSubstr("did you mean 'onebit'?"));
  const Answer key = run("lab optimize --name adamw --set larning=1 --in a --out b");
  EXPECT_EQ(key.code, 2);
  EXPECT_THAT(key.err, HasSubstr("unknown key 'larning' in [optim]"));
}

}  // namespace
}  // namespace terse
