#include "qat/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "qat/codes.h"
#include "qat/grid.h"
#include "qat/plan.h"
#include "qat/targets.h"

namespace terse {
namespace {

// Keys that only collects problems.
class Problems final : public Keys {
 public:
  void flag(std::string_view, bool&, std::string_view) override {}
  void integer(std::string_view, int64_t&, int64_t, int64_t, std::string_view) override {}
  void number(std::string_view, double&, double, double, std::string_view) override {}
  void text(std::string_view, std::string&, std::string_view) override {}
  void choice(std::string_view, std::string&, std::vector<std::string>, std::string_view) override {
  }
  void numbers(std::string_view, std::vector<double>&, std::string_view) override {}
  void texts(std::string_view, std::vector<std::string>&, std::string_view) override {}
  void problem(std::string_view name, std::string message) override {
    at.emplace_back(name);
    all += message + "\n";
  }
  std::vector<std::string> at;
  std::string all;
};

std::vector<std::string> problems(const QatOptions& o) {
  Problems keys;
  o.check(keys);
  return keys.at;
}

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(QatOptions, SaysWhereAnImpossibleCombinationIs) {
  QatOptions o;
  EXPECT_THAT(problems(o), IsEmpty());
  o.act_bits = 4;
  EXPECT_THAT(problems(o), ElementsAre("target"));
  o.target = "gguf:q4_0";
  EXPECT_THAT(problems(o), IsEmpty());
  o.weight_bits = 8;
  o.group = 64;
  o.hadamard = 128;
  o.estimator = "hope";
  EXPECT_THAT(problems(o), ElementsAre("hadamard", "weight_bits", "group", "estimator"));
  o = {};
  o.target = "none";
  o.weight_bits = 9;
  o.act_bits = 12;
  o.hadamard = 96;
  EXPECT_THAT(problems(o), ElementsAre("weight_bits", "act_bits", "hadamard"));
  o = {};
  o.target = "gguf:f16";
  o.weight_bits = 4;
  EXPECT_THAT(problems(o), ElementsAre("weight_bits"));
}

TEST(Plan, TargetsFixTheirGrid) {
  QatOptions o;
  o.target = "gguf:q4_0";
  const LayerPlan q4 = plan_layer(o, "layer", 256);
  EXPECT_EQ(to_string(q4.weight->grid.format), "int_signed b4 g32 f16 h0 [-8,7] +0");
  EXPECT_FALSE(q4.activations);
  o.act_bits = 8;
  EXPECT_EQ(plan_layer(o, "layer", 256).activations->grid.format.hadamard, 0);
  o.target = "gguf:bf16";
  o.act_bits = 16;
  EXPECT_FALSE(plan_layer(o, "layer", 256).weight);
  o.target = "gguf:q9";
  EXPECT_THROW(plan_layer(o, "layer", 256), Error);
}

TEST(Plan, ClipIsTheDefaultAtOneBit) {
  QatOptions o;
  o.target = "none";
  o.weight_bits = 1;
  o.act_bits = 4;
  const LayerPlan plan = plan_layer(o, "layer", 256);
  EXPECT_EQ(to_string(plan.weight->estimator), "clip(1.3)");
  EXPECT_EQ(to_string(plan.activations->estimator), "trust(1)");
  EXPECT_EQ(plan.weight->grid.format.hadamard, 128);
}

TEST(Estimators, TextAndBack) {
  for (const std::string text : {"straight_through", "clip(2.5)", "trust(0.5)"})
    EXPECT_EQ(to_string(parse_estimator(text, 4)), text);
  for (const std::string text :
       {"clip(", "clip(-1)", "clip(x)", "trust(1)x", "lsq", "straight_through(1)", "clip(nan)"})
    EXPECT_THROW(parse_estimator(text, 4), Error) << text;
}

Codes small() {
  Codes codes;
  codes.format = q4_0_grid().format;
  codes.rows = 3;
  codes.columns = 64;
  codes.codes.assign(3 * 64, 1);
  codes.codes[64] = -8;
  codes.scales = {1, 2, 3, 4, 5, 6};
  return codes;
}

TEST(Codes, DecodeFollowsTheFormula) {
  Codes codes = small();
  codes.format.offset = 0.5f;
  std::vector<float> out(3 * 64);
  codes.decode(out.data());
  EXPECT_EQ(out[0], 1.5f);
  EXPECT_EQ(out[64], -7.5f * 3);
  EXPECT_EQ(out[191], 1.5f * 6);
}

TEST(Codes, RowSlice) {
  const Codes part = small().row_slice(1, 3);
  EXPECT_EQ(part.rows, 2);
  EXPECT_EQ(part.codes[0], -8);
  EXPECT_THAT(part.scales, ElementsAre(3, 4, 5, 6));
  part.validate("part");
}

TEST(Codes, ValidateFindsEveryDefect) {
  small().validate("w");
  const auto broken = [](auto&& change) {
    Codes codes = small();
    change(codes);
    EXPECT_THROW(codes.validate("w"), Error);
  };
  broken([](Codes& c) { c.codes[5] = 8; });
  broken([](Codes& c) { c.codes.pop_back(); });
  broken([](Codes& c) { c.scales.push_back(1); });
  broken([](Codes& c) { c.scales[1] = std::nanf(""); });
  broken([](Codes& c) { c.scales[1] = 1.0001f; });  // no fp16 value
  broken([](Codes& c) { c.format.group = 48; });
  broken([](Codes& c) { c.format.hadamard = 128; });
  broken([](Codes& c) { c.format.group = -1; });
  broken([](Codes& c) { c.rows = -3; });
  broken([](Codes& c) { c.format.code_min = -300; });
}

TEST(CodeFormat, TextAndBack) {
  for (const Target& target : targets())
    if (target.grid) {
      const CodeFormat format = target.grid->format;
      EXPECT_EQ(parse_code_format(to_string(format)), format);
    }
  const CodeFormat half = mse_grid("half_int", 4, 0, ScaleType::bf16, 128).format;
  EXPECT_EQ(to_string(half), "half_int b4 g0 bf16 h128 [-8,7] +0.5");
  EXPECT_EQ(parse_code_format(to_string(half)), half);
  CodeFormat masked = half;
  masked.pattern = "2:4";
  EXPECT_EQ(to_string(masked), "half_int b4 g0 bf16 h128 [-8,7] +0.5 2:4");
  EXPECT_EQ(parse_code_format(to_string(masked)), masked);
  for (const std::string text :
       {"", "half_int b4", "half_int b4 g0 f8 h0 [-8,7] +0", "half_int bx g0 f16 h0 [-8,7] +0",
        "half_int b4 g0 f16 h0 [-8,7] +0 more", "half_int b4 g0 f16 h0 [-8,7] +0 5:4",
        "half_int b4 g0 f16 h0 -8,7 +0", "half_int b4 g0 f16 h0 [-8] +0",
        "half_int b04 g0 f16 h0 [-8,7] +0"})
    EXPECT_THROW(parse_code_format(text), Error) << text;
}

}  // namespace
}  // namespace terse
