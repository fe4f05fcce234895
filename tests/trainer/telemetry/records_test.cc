#include "trainer/telemetry/records.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/trainer/telemetry/synthetic_run.h"

namespace terse {
namespace {

TEST(Records, EveryFieldComesBack) {
  StepRecord step = test::synthetic_step(7, 10);
  step.skipped = true;
  step.bad_rank = 3;
  step.reencoded = true;
  step.loss = 0.1 + 0.2;  // needs all 17 digits
  EXPECT_EQ(std::get<StepRecord>(parse_record(to_json(step))), step);

  const EvalRecord eval{
      .step = 7, .loss = 3.1, .perplexity = 22.2, .tokens = 5, .seconds = 0.5, .name = "valid"};
  EXPECT_EQ(std::get<EvalRecord>(parse_record(to_json(eval))), eval);

  const DecisionRecord decision{.step = 9, .what = "freeze", .value = "on", .reason = "\"x\"\n"};
  EXPECT_EQ(std::get<DecisionRecord>(parse_record(to_json(decision))), decision);
}

TEST(Records, OneLineOfJsonWithTheDocumentedKeys) {
  const std::string line = to_json(test::synthetic_step(1, 10));
  EXPECT_EQ(line.find('\n'), std::string::npos);
  const auto json = nlohmann::json::parse(line);
  for (const char* key :
       {"kind", "step", "loss", "lr", "norm", "clip", "tokens", "tokens_per_second", "seconds",
        "exposed_seconds", "wire_bytes", "dense_bytes", "phase", "residual_norm", "skipped",
        "bad_rank", "reencoded"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json.size(), 17u);
}

TEST(Records, MasksAreToldWhereThereAreAny) {
  StepRecord step = test::synthetic_step(3, 10);
  EXPECT_FALSE(nlohmann::json::parse(to_json(step)).contains("beta"));
  step.stage = "progressive";
  step.pattern = "4:8";
  step.beta = 0.25;
  step.mask_changed = 0.125;
  const std::string line = to_json(step);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json.at("stage"), "progressive");
  EXPECT_EQ(json.at("pattern"), "4:8");
  EXPECT_EQ(json.at("beta"), 0.25);
  EXPECT_EQ(json.at("mask_changed"), 0.125);
  EXPECT_EQ(std::get<StepRecord>(parse_record(line)), step);
}

TEST(Records, NotANumberIsNull) {
  StepRecord step;
  step.step = 1;
  step.loss = std::numeric_limits<double>::quiet_NaN();
  step.gradient_norm = std::numeric_limits<double>::infinity();
  const std::string line = to_json(step);
  EXPECT_TRUE(nlohmann::json::parse(line)["loss"].is_null());
  const auto back = std::get<StepRecord>(parse_record(line));
  EXPECT_TRUE(std::isnan(back.loss));
  EXPECT_TRUE(std::isnan(back.gradient_norm));
}

TEST(Records, InvalidUtf8DoesNotEndARun) {
  EXPECT_NO_THROW(nlohmann::json::parse(to_json(DecisionRecord{1, "a\xff", "b", "c"})));
}

TEST(Records, TornAndForeignLinesAreNoRecords) {
  for (const char* line :
       {"", "{", R"({"kind":"step","st)", "null", "[]", "7", R"({"kind":"step"})",
        R"({"kind":"other","step":1})", R"({"kind":"step","step":"1"})",
        R"({"kind":"step","step":1.5})", R"({"step":1})", R"({"kind":1,"step":1})"}) {
    EXPECT_EQ(step_of(parse_record(line)), -1) << line;
  }
  EXPECT_EQ(parse_records("{\"kind\":\"eval\",\"step\":1}\n\ngarbage\n{\"kind\":\"step\"").size(),
            1u);
}

}  // namespace
}  // namespace terse
