#include "sparsity/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"

namespace terse {
namespace {

MaskSchedule make(const char* name, const char* pattern, int64_t dense = 10, int64_t fine = 20) {
  MaskSchedule s;
  s.kind = parse_schedule(name);
  s.pattern = parse_pattern(pattern);
  s.steps = 130;
  s.dense = dense;
  s.fine = fine;
  return s;
}

TEST(Schedule, StagesBeginAndEndWhereTheySay) {
  for (const std::string& name : schedule_names()) {
    const MaskSchedule s = make(name.c_str(), name == "gradual" ? "unstructured:0.8" : "1:8");
    for (int64_t t = 0; t < 140; ++t) {
      const MaskState state = s.at(t);
      EXPECT_EQ(state.stage, t < 10 ? Stage::dense : t < 110 ? Stage::progressive : Stage::fine);
      EXPECT_EQ(state.masked, t >= 10);
      EXPECT_EQ(state == s.served(), t >= 110) << name << t;
    }
  }
}

TEST(Schedule, LinearAndExponentialReachTheEndValue) {
  MaskSchedule linear = make("mask_linear", "1:8");
  linear.beta_end = 0.2;
  EXPECT_EQ(linear.at(10).beta, 1.0);
  EXPECT_NEAR(linear.at(60).beta, 1 - 0.5 * 0.8, 1e-15);
  EXPECT_NEAR(linear.at(109).beta, 1 - 0.99 * 0.8, 1e-15);
  EXPECT_EQ(linear.at(110).beta, 0.0);
  const MaskSchedule exponential = make("mask_exponential", "1:8");
  EXPECT_EQ(exponential.at(10).beta, 1.0);
  EXPECT_NEAR(exponential.at(60).beta, std::sqrt(1e-3), 1e-15);
  // c = -ln(beta_end) / L, the other way to write it
  EXPECT_NEAR(exponential.at(93).beta, std::exp(std::log(1e-3) / 100 * 83), 1e-15);
  EXPECT_EQ(exponential.at(110).beta, 0.0);
}

TEST(Schedule, RateReplacesTheEndValue) {
  MaskSchedule linear = make("mask_linear", "1:8"), exponential = make("mask_exponential", "1:8");
  linear.rate = exponential.rate = 0.02;
  EXPECT_NEAR(linear.at(40).beta, 1 - 0.02 * 30, 1e-15);
  EXPECT_EQ(linear.at(61).beta, 0.0);  // and not below
  EXPECT_NEAR(exponential.at(40).beta, std::exp(-0.02 * 30), 1e-15);
}

TEST(Schedule, StepwiseEndsAtThePatternWhateverItsShare) {
  const auto frames = [](const char* name, const char* pattern, int64_t columns) {
    MaskSchedule s = make(name, pattern);
    s.columns = columns;
    std::string text;
    for (const Pattern& p : s.frames()) text += to_string(p) + " ";
    return text;
  };
  EXPECT_EQ(frames("structure_stepwise", "1:8", 0), "7:8 4:8 2:8 1:8 ");
  EXPECT_EQ(frames("structure_stepwise", "3:8", 0), "7:8 4:8 3:8 ");
  EXPECT_EQ(frames("structure_stepwise", "1:2", 0), "1:2 ");
  EXPECT_EQ(frames("structure_stepwise", "4:4", 0), "4:4 ");
  EXPECT_EQ(frames("structure_geometric", "1:8", 0), "8:64 4:32 2:16 1:8 ");
  // 96 = 32 * 3: no groups of 64
  EXPECT_EQ(frames("structure_geometric", "1:8", 96), "4:32 2:16 1:8 ");
  EXPECT_EQ(frames("structure_geometric", "1:8", 8), "1:8 ");
}

TEST(Schedule, FramesShareTheProgressiveStepsEvenly) {
  const MaskSchedule s = make("structure_stepwise", "1:8");
  for (int64_t t = 10; t < 110; ++t) {
    const char* expected = t < 35 ? "7:8" : t < 60 ? "4:8" : t < 85 ? "2:8" : "1:8";
    EXPECT_EQ(to_string(s.at(t).pattern), expected) << t;
  }
}

TEST(Schedule, GradualIsTheCubic) {
  const MaskSchedule s = make("gradual", "unstructured:0.8");
  EXPECT_EQ(s.at(10).pattern.zeros, 0.0);
  // s_f + (s_i - s_f) (1 - p)^3 with s_i = 0
  EXPECT_NEAR(s.at(35).pattern.zeros, 0.8 - 0.8 * 0.75 * 0.75 * 0.75, 1e-15);
  EXPECT_NEAR(s.at(85).pattern.zeros, 0.8 - 0.8 * 0.25 * 0.25 * 0.25, 1e-15);
  EXPECT_EQ(s.at(110).pattern.zeros, 0.8);
  for (int64_t t = 11; t < 111; ++t)
    EXPECT_GT(s.at(t).pattern.zeros, s.at(t - 1).pattern.zeros) << t;
}

TEST(Schedule, WaitsUntilItIsToldWhereTheDenseStepsEnd) {
  MaskSchedule s;
  s.pattern = {1, 8};
  s.kind = MaskSchedule::Kind::structure_stepwise;
  s.steps = 100;
  s.fine = 20;
  s.dense = kUntilFrozen;
  for (int64_t t = 0; t < 80; ++t) EXPECT_EQ(s.at(t).stage, Stage::dense) << t;
  EXPECT_EQ(s.at(80), s.served());
  EXPECT_EQ(s.at(kServed), s.served());
  s.dense = 30;
  EXPECT_EQ(s.at(29).stage, Stage::dense);
  EXPECT_EQ(s.at(30).pattern, (Pattern{7, 8}));
}

TEST(Pattern, TextAndBack) {
  for (const std::string text : {"2:4", "1:32", "3:3", "unstructured:0.9", "unstructured:0"})
    EXPECT_EQ(to_string(parse_pattern(text)), text);
  for (const std::string text :
       {"", "2", "0:4", "5:4", "2:4:8", "2:4 ", "a:4", "2:", "-1:4", "1:2048",
        "unstructured:", "unstructured:1", "unstructured:-0.1", "unstructured:x"})
    EXPECT_THROW(parse_pattern(text), Error) << text;
}

TEST(Pattern, RowsThatDoNotFitNameTheLayer) {
  check_fit({2, 4}, "a", 12);
  check_fit({0, 0, 0.5}, "a", 13);
  try {
    check_fit({2, 4}, "model.layers.0.mlp", 14);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find("model.layers.0.mlp"), std::string::npos);
  }
}

}  // namespace
}  // namespace terse
