// A real kill -9 in the middle of a run with each sparsity schedule, with STEP's switch, and with
// learned steps; resumed, the run ends in the same bytes and has told the same story.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "tests/fault/small_run.h"
#include "trainer/checkpoint/checkpoint.h"

namespace terse {
namespace {

using testing::Outcome;
using testing::Started;

struct Schedule {
  const char* name;
  int ranks;
  std::vector<std::string> sets;
};

std::ostream& operator<<(std::ostream& out, const Schedule& schedule) {
  return out << schedule.name;
}

// 4 evaluations in between look at the masks as served.
std::vector<std::string> sets_of(const Schedule& schedule) {
  std::vector<std::string> sets = {"train.eval_every=15", "train.eval_windows=2"};
  sets.insert(sets.end(), schedule.sets.begin(), schedule.sets.end());
  return sets;
}

std::vector<std::string> sparse(const std::string& pattern, const std::string& schedule) {
  return {"optim.name='adamw'",
          "exchange.codec='fp32'",
          "qat.target=''",
          "qat.ignore=[]",
          "sparsity.ignore=['lm_head']",
          "sparsity.pattern='" + pattern + "'",
          "sparsity.schedule='" + schedule + "'",
          "sparsity.dense=5",
          "sparsity.fine=9"};
}

std::vector<std::string> with(std::vector<std::string> sets, const std::vector<std::string>& more) {
  sets.insert(sets.end(), more.begin(), more.end());
  return sets;
}

std::vector<Schedule> schedules() {
  const std::vector<std::string> lsq = {"qat.target='none'", "qat.weight_bits=4", "qat.act_bits=4",
                                        "qat.hadamard=32", "qat.estimator='lsq'"};
  return {
      {"constant", 1, sparse("2:4", "constant")},
      {"mask_linear", 1, with(sparse("1:8", "mask_linear"), {"sparsity.estimator='srste'"})},
      {"mask_exponential", 1, sparse("1:8", "mask_exponential")},
      {"structure_stepwise", 1,
       with(sparse("1:8", "structure_stepwise"), {"sparsity.estimator='srste_decoupled'"})},
      {"structure_geometric", 1, sparse("1:4", "structure_geometric")},
      {"gradual", 1, sparse("unstructured:0.9", "gradual")},
      {"step_autoswitch", 1,
       with(sparse("1:4", "mask_linear"),
            {"sparsity.dense=-1", "optim.variance_steps=-1", "optim.eps=1e-6"})},
      {"lsq_under_onebit_adam", 2, lsq},
      {"lsq_behind_a_mask", 1, with(sparse("2:4", "mask_linear"), lsq)},
  };
}

std::string decisions(const SmallRun& small, const std::string& run) {
  return read_text(small.path(run) + "/decisions.jsonl");
}

std::string masks(const SmallRun& small, const std::string& run) {
  std::istringstream lines(read_text(small.path(run) + "/metrics.jsonl"));
  std::string all;
  for (std::string line; std::getline(lines, line);) {
    const auto record = nlohmann::json::parse(line);
    for (const char* key : {"step", "stage", "pattern", "beta", "mask_changed"})
      if (record.contains(key)) all += record.at(key).dump() + " ";
    all += "\n";
  }
  return all;
}

class ScheduleSlow : public ::testing::TestWithParam<Schedule> {};

TEST_P(ScheduleSlow, KilledAndResumedIsBitwise) {
  SmallRun small;
  const Schedule& schedule = GetParam();
  const std::vector<std::string> sets = sets_of(schedule);
  const Outcome whole = small.train("whole", schedule.ranks, sets);
  ASSERT_TRUE(whole.ok()) << whole.text();
  std::mt19937 random(std::random_device{}());
  const std::string fault = "kill:0:" + std::to_string(11 + random() % 48);
  SCOPED_TRACE(fault);
  const Outcome killed =
      small.train("killed", schedule.ranks, sets, Started::environment, {{"TERSE_FAULT", fault}});
  EXPECT_EQ(killed.exits[0].signal, SIGKILL) << killed.text();
  const Outcome resumed = small.resume("killed", schedule.ranks);
  ASSERT_TRUE(resumed.ok()) << resumed.text();
  EXPECT_EQ(small.losses("killed"), small.losses("whole"));
  // Phases of the exchange are told by the first step of each, so a kill in it loses the line.
  if (schedule.ranks == 1) {
    EXPECT_EQ(decisions(small, "killed"), decisions(small, "whole"));
  }
  EXPECT_EQ(masks(small, "killed"), masks(small, "whole"));
  EXPECT_TRUE(small.final_state("killed") == small.final_state("whole"));
}

INSTANTIATE_TEST_SUITE_P(All, ScheduleSlow, ::testing::ValuesIn(schedules()),
                         [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace terse
