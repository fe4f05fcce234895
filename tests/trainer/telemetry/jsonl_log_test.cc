#include "trainer/telemetry/jsonl_log.h"

#include <gtest/gtest.h>

#include "tests/support/temporary_directory.h"
#include "trainer/telemetry/records.h"

namespace terse {
namespace {

StepRecord step(int64_t number) {
  StepRecord record;
  record.step = number;
  return record;
}

std::vector<int64_t> steps_in(const std::string& path) {
  std::vector<int64_t> steps;
  for (const Record& record : parse_records(read_text(path))) steps.push_back(step_of(record));
  return steps;
}

TEST(JsonlLog, AResumedRunGoesOnAfterItsCheckpoint) {
  TemporaryDirectory folder;
  const std::string path = folder.path() + "/deep/er/metrics.jsonl";
  {
    JsonlLog log(FileSystem::real(), path, 0);
    for (int64_t i = 1; i <= 9; ++i) log.write(to_json(step(i)));
  }
  {
    JsonlLog log(FileSystem::real(), path, 6);
    for (int64_t i = 7; i <= 8; ++i) log.write(to_json(step(i)));
    log.sync();
  }
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{1, 2, 3, 4, 5, 6, 7, 8}));
}

// A process killed inside a write leaves any prefix of the line. Wherever it ends, the next process
// must neither lose a whole line nor glue its own to the torn one.
TEST(JsonlLog, KilledAtEveryByte) {
  const std::string first = to_json(step(1)) + "\n", second = to_json(step(2)) + "\n";
  for (size_t torn = 0; torn <= second.size(); ++torn) {
    const std::string kept = cut_back(first + second.substr(0, torn), 5);
    EXPECT_EQ(kept, torn == second.size() ? first + second : first) << torn;
  }
}

TEST(JsonlLog, ANewRunStartsEmpty) {
  TemporaryDirectory folder;
  const std::string path = folder.path() + "/metrics.jsonl";
  { JsonlLog(FileSystem::real(), path, 0).write(to_json(step(1))); }
  { JsonlLog(FileSystem::real(), path, 0).write(to_json(step(2))); }
  EXPECT_EQ(steps_in(path), (std::vector<int64_t>{2}));
}

TEST(JsonlLog, ForeignLinesInTheMiddleGo) {
  const std::string good = to_json(step(3)) + "\n";
  EXPECT_EQ(cut_back("garbage\n" + good + "{}\n\n" + good, 3), good + good);
  EXPECT_EQ(cut_back(good, 2), "");
}

}  // namespace
}  // namespace terse
