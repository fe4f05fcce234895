#include "trainer/telemetry/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "tests/trainer/telemetry/synthetic_run.h"
#include "trainer/telemetry/tables.h"

namespace terse {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string run_steps(const ProgressOptions& options, int64_t steps) {
  std::string out;
  {
    Progress progress(options, steps, [&](std::string_view text) { out += text; });
    for (int64_t i = 1; i <= steps; ++i) progress.step(test::synthetic_step(i, steps));
  }
  return out;
}

int64_t count(const std::string& text, char c) {
  return std::count(text.begin(), text.end(), c);
}

TEST(Progress, PlainLinesInAPipe) {
  const std::string out = run_steps({.every = 10}, 25);
  EXPECT_EQ(count(out, '\n'), 4);  // 1, 10, 20, 25
  EXPECT_EQ(count(out, '\x1b'), 0);
  EXPECT_EQ(count(out, '\r'), 0);
}

TEST(Progress, OneLineOnATerminal) {
  const std::string out = run_steps({.terminal = true, .columns = 60}, 25);
  EXPECT_EQ(count(out, '\n'), 1);
  EXPECT_EQ(count(out, '\r'), 25);
  for (size_t at = 0; (at = out.find("\x1b[2K", at)) != std::string::npos; at += 4) {
    EXPECT_LE(std::min(out.find('\r', at), out.find('\n', at)) - at - 4, 60u);
  }
}

TEST(Progress, ALineNeverExceeds120Columns) {
  StepRecord record = test::synthetic_step(999999, 1000000);
  record.gradient_norm = 1.234e-9;
  record.loss = -1234567.8;
  record.seconds = 4e6;
  record.wire_bytes = 123456789012;
  record.skipped = true;
  EXPECT_LE(progress_line(record, 1000000, 1e9).size(), 120u);
}

TEST(Progress, SaysWhatItSays) {
  StepRecord r;
  r.step = 120;
  r.loss = 2.8311;
  r.gradient_norm = 0.91;
  r.seconds = 0.183;
  r.tokens_per_second = 41200;
  r.wire_bytes = 940000;
  r.dense_bytes = 99640000;
  r.phase = "codec";
  r.residual_norm = 0.42;
  EXPECT_EQ(
      progress_line(r, 2000, 344),
      "step 120/2000 6% eta 5m44s | loss 2.8311 | norm 0.91 | 183 ms | 41.2k tok/s | wire 940 kB "
      "(x106) | ef 0.42");
}

TEST(Progress, ASkippedStepIsAlwaysShown) {
  std::string out;
  Progress progress({.every = 100}, 1000, [&](std::string_view text) { out += text; });
  StepRecord record = test::synthetic_step(37, 1000);
  record.skipped = true;
  record.bad_rank = 2;
  progress.step(record);
  EXPECT_THAT(out, HasSubstr("rank 2"));
}

TEST(Progress, NotesDoNotRunIntoTheLine) {
  std::string out;
  Progress progress({.terminal = true}, 9, [&](std::string_view text) { out += text; });
  progress.step(test::synthetic_step(1, 9));
  progress.note("hello");
  EXPECT_THAT(out, HasSubstr("\r\x1b[2Khello\n"));
}

TEST(Progress, APipeIsNoTerminal) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const ProgressOptions options = ProgressOptions::detect(ends[1]);
  EXPECT_FALSE(options.terminal);
  EXPECT_FALSE(options.colour);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Progress, NoColorIsRespectedOnATerminal) {
  const int terminal = ::posix_openpt(O_RDWR | O_NOCTTY);
  if (terminal < 0) GTEST_SKIP() << "no pseudo-terminal here";
  ::setenv("TERM", "xterm", 1);
  ::unsetenv("NO_COLOR");
  EXPECT_TRUE(ProgressOptions::detect(terminal).colour);
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_TRUE(ProgressOptions::detect(terminal).terminal);
  EXPECT_FALSE(ProgressOptions::detect(terminal).colour);
  ::setenv("TERM", "dumb", 1);
  EXPECT_FALSE(ProgressOptions::detect(terminal).terminal);
  ::close(terminal);
}

TEST(Tables, AlignedAndBounded) {
  const std::vector<Row> rows = {{"a", "1"}, {"longer", std::string(300, 'x')}};
  const std::string table = render_table("title", rows, false);
  EXPECT_THAT(table, HasSubstr("title\n  a       1\n  longer  x"));
  for (size_t at = 0, end; (end = table.find('\n', at)) != std::string::npos; at = end + 1) {
    EXPECT_LE(end - at, 120u);
  }
  EXPECT_THAT(table, Not(HasSubstr("\x1b")));
  EXPECT_THAT(render_table("title", rows, true), HasSubstr("\x1b[1mtitle\x1b[0m"));
}

TEST(Tables, Summary) {
  const RunSummary summary{.run = "runs/q",
                           .steps = 600,
                           .loss = 3.2,
                           .perplexity = 24.5,
                           .tokens_per_second = 14100,
                           .seconds = 174,
                           .wire_bytes = 100,
                           .dense_bytes = 3200,
                           .exposed_seconds = 1.5,
                           .skipped_steps = 0};
  EXPECT_THAT(render_summary(summary, false), HasSubstr("x32.0"));
  EXPECT_EQ(
      summary_json(summary),
      R"({"run":"runs/q","steps":600,"loss":3.2,"perplexity":24.5,"tokens_per_second":14100.0,)"
      R"("wire_bytes":100,"dense_bytes":3200,"exposed_seconds":1.5})");
}

}  // namespace
}  // namespace terse
