// L-GreCo by time in a run: what it measures is the machine's luck, what it decides is written
// down, holds over a kill and is repeated.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/fault/small_run.h"

namespace terse {
namespace {

using testing::Outcome;
using testing::Started;

using Decided = std::vector<std::pair<int64_t, std::string>>;

Decided decisions(const SmallRun& small, const std::string& run) {
  Decided found;
  std::ifstream file(small.path(run) + "/decisions.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record.at("what") == "lgreco") found.emplace_back(record.at("step"), record.at("value"));
  }
  return found;
}

std::vector<std::string> by_time(const std::vector<std::string>& more = {}) {
  std::vector<std::string> sets = {"exchange.codec=lgreco", "exchange.family=topk",
                                   "exchange.density=0.05", "exchange.every=20",
                                   "exchange.cost=time",    "optim.name=adamw"};
  sets.insert(sets.end(), more.begin(), more.end());
  return sets;
}

TEST(LgrecoSlow, AReplayedRunIsTheSameRun) {
  SmallRun small;
  const Outcome first = small.train("first", 2, by_time());
  ASSERT_TRUE(first.ok()) << first.text();
  const Decided decided = decisions(small, "first");
  ASSERT_EQ(decided.size(), 2u);  // tables after 20 and 40 steps, five steps later
  EXPECT_EQ(decided[0].first, 26);
  EXPECT_EQ(decided[1].first, 46);
  const std::string replay = "exchange.replay=\"" + small.path("first") + "\"";
  const Outcome second = small.train("second", 2, by_time({replay}));
  ASSERT_TRUE(second.ok()) << second.text();
  EXPECT_EQ(decisions(small, "second"), decided);
  EXPECT_EQ(small.losses("second"), small.losses("first"));
  // Killed where decisions lie before and behind the checkpoint.
  small.train("killed", 2, by_time({replay}), Started::environment, {{"TERSE_FAULT", "kill:0:44"}});
  const Outcome resumed = small.resume("killed", 2);
  ASSERT_TRUE(resumed.ok()) << resumed.text();
  EXPECT_EQ(decisions(small, "killed"), decided);
  EXPECT_TRUE(small.final_state("killed") == small.final_state("second"));
}

}  // namespace
}  // namespace terse
