// codec = "auto": decisions that hold over a kill, and are repeated from a run's file.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/fault/small_run.h"

namespace terse {
namespace {

using testing::Outcome;
using testing::Started;

struct Decided {
  int64_t step = 0;
  std::string value;
  bool operator==(const Decided&) const = default;
};

void write_decisions(const SmallRun& small, const std::string& run,
                     const std::vector<Decided>& decisions) {
  std::filesystem::create_directories(small.path(run));
  std::ofstream file(small.path(run) + "/decisions.jsonl");
  for (const Decided& d : decisions)
    file << nlohmann::json{{"kind", "decision"},
                           {"step", d.step},
                           {"what", "exchange"},
                           {"value", d.value},
                           {"reason", "a test"}}
                .dump()
         << '\n';
}

std::vector<Decided> decisions(const SmallRun& small, const std::string& run) {
  std::vector<Decided> found;
  std::ifstream file(small.path(run) + "/decisions.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record.at("what") == "exchange") found.push_back({record.at("step"), record.at("value")});
  }
  return found;
}

std::vector<std::string> phases(const SmallRun& small, const std::string& run) {
  std::vector<std::string> found;
  std::ifstream file(small.path(run) + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record.at("kind") == "step") found.push_back(record.at("phase"));
  }
  return found;
}

// Compressed from 21 on, dense for six steps with a pending residual, and on with other codecs.
const std::vector<Decided> kSwitches = {
    {15, "onebit"}, {33, "bits"}, {41, "fp32"}, {47, "onebit"}, {52, "fp32"}};

TEST(AutoSlow, ResumingOverSwitchesIsBitwise) {
  for (const int ranks : {1, 2, 3}) {
    SmallRun small;
    write_decisions(small, "plan", kSwitches);
    const std::vector<std::string> sets = {"train.batch_tokens=384",  // 12 sequences
                                           "exchange.codec=auto",
                                           "exchange.replay=\"" + small.path("plan") + "\""};
    const Outcome whole = small.train("whole", ranks, sets);
    ASSERT_TRUE(whole.ok()) << whole.text();
    EXPECT_EQ(decisions(small, "whole"), kSwitches);
    const auto phase = phases(small, "whole");
    EXPECT_EQ(std::ranges::count(phase, "dense"), 20) << "it freezes after step 20";
    std::mt19937 random(std::random_device{}());
    // After a checkpoint that holds a decision for the step behind it; and anywhere.
    for (const std::string& step : {std::string("44"), std::to_string(45 + random() % 14)}) {
      SCOPED_TRACE("killed at " + step);
      const std::string run = "killed" + step;
      small.train(run, ranks, sets, Started::environment, {{"TERSE_FAULT", "kill:0:" + step}});
      const Outcome resumed = small.resume(run, ranks);
      ASSERT_TRUE(resumed.ok()) << resumed.text();
      EXPECT_EQ(small.losses(run), small.losses("whole"));
      EXPECT_EQ(decisions(small, run), kSwitches);
      EXPECT_TRUE(small.final_state(run) == small.final_state("whole"));
    }
  }
}

// Until compression is decided on, 1-bit Adam is Adam.
TEST(AutoSlow, NothingFreezesWhileDenseWins) {
  SmallRun small;
  write_decisions(small, "plan", {{7, "fp32"}, {40, "bits"}});
  const Outcome outcome = small.train(
      "run", 2, {"exchange.codec=auto", "exchange.replay=\"" + small.path("plan") + "\""});
  ASSERT_TRUE(outcome.ok()) << outcome.text();
  EXPECT_EQ(std::ranges::count(phases(small, "run"), "dense"), 40);
  const Outcome adamw = small.train("adamw", 2, {"optim.name=adamw", "exchange.codec=fp32"});
  ASSERT_TRUE(adamw.ok()) << adamw.text();
  const auto a = small.losses("run"), b = small.losses("adamw");
  EXPECT_TRUE(std::equal(a.begin(), a.begin() + 41, b.begin()));
  EXPECT_NE(a, b);
}

// What it measures here is the machine's luck; what it decides is written down and repeated.
TEST(AutoSlow, AReplayedRunIsTheSameRun) {
  SmallRun small;
  const std::vector<std::string> sets = {"exchange.codec=auto", "exchange.every=20",
                                         "optim.name=adamw", "exchange.density=0.1",
                                         "exchange.candidates=[\"bits\", \"topk\", \"lowrank\"]"};
  const Outcome first = small.train("first", 2, sets);
  ASSERT_TRUE(first.ok()) << first.text();
  const auto decided = decisions(small, "first");
  ASSERT_EQ(decided.size(), 3u);  // at steps 6, 26, 46
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(decided[i].step, static_cast<int64_t>(7 + 20 * i));
  std::vector<std::string> again = sets;
  again.push_back("exchange.replay=\"" + small.path("first") + "\"");
  const Outcome second = small.train("second", 2, again);
  ASSERT_TRUE(second.ok()) << second.text();
  EXPECT_EQ(decisions(small, "second"), decided);
  EXPECT_EQ(small.losses("second"), small.losses("first"));
}

}  // namespace
}  // namespace terse
