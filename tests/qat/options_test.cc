#include "qat/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

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
  EXPECT_THAT(problems(o), ElementsAre("estimator", "hadamard", "weight_bits", "group"));
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

struct Wrong {
  const char* what;
  QatOptions options;
  const char* key;
  const char* names;  // a possibility that the message must name
};

QatOptions with(const char* target, const std::function<void(QatOptions&)>& change) {
  QatOptions o;
  o.target = target;
  change(o);
  return o;
}

TEST(QatOptions, NamesThePossible) {
  const Wrong all[] = {
      {"rotation", with("onnx:int4", [](auto& o) { o.hadamard = 64; }), "hadamard",
       "compressed-tensors:w4a4-hadamard"},
      {"no rotation", with("compressed-tensors:w4a4-hadamard", [](auto& o) { o.hadamard = 0; }),
       "hadamard", "leave the key out"},
      {"activations", with("compressed-tensors:w4a16", [](auto& o) { o.act_bits = 8; }), "act_bits",
       "compressed-tensors:w8a8"},
      {"activations", with("compressed-tensors:w8a8", [](auto& o) { o.act_bits = 16; }), "act_bits",
       "compressed-tensors:w4a16"},
      {"group", with("compressed-tensors:w4a16", [](auto& o) { o.group = 48; }), "group",
       "128, 64, 32, 0"},
      {"group", with("gguf:mxfp4", [](auto& o) { o.group = 16; }), "group", "32"},
      {"bits", with("none", [](auto& o) { o.grid = "fp4", o.weight_bits = 3; }), "grid", "4 bits"},
      {"bits", with("none", [](auto& o) { o.grid = "int_symmetric", o.weight_bits = 1; }), "grid",
       "2 to 8"},
      {"rule", with("none", [](auto& o) { o.grid = "half_int", o.scale = "signed_max"; }), "scale",
       "rms, absmax"},
      {"rule", with("gguf:q4_0", [](auto& o) { o.scale = "mx_floor"; }), "scale", "signed_max"},
      {"act_grid", with("none", [](auto& o) { o.act_grid = "fp4"; }), "act_grid", "act_bits"},
      {"act_grid", with("none", [](auto& o) { o.act_grid = "fp4", o.act_bits = 8; }), "act_grid",
       "4 bits"},
      {"bitnet", with("gguf:q4_0", [](auto& o) { o.estimator = "bitnet"; }), "target",
       "none, gguf:q2_0, gguf:tq2_0"},
      {"bitnet", with("none", [](auto& o) { o.estimator = "bitnet", o.act_bits = 4; }), "act_bits",
       "8"},
      {"blocks", with("none", [](auto& o) { o.act_grid = "nvfp4", o.act_bits = 8; }), "act_grid",
       "4 bits"},
      {"blocks",
       with("none", [](auto& o) { o.act_grid = "mxfp4", o.act_bits = 4, o.estimator = "lsq"; }),
       "act_grid", "int_signed"},
      {"blocks", with("compressed-tensors:nvfp4", [](auto& o) { o.act_grid = "nvfp4"; }),
       "act_grid", "leave it out"},
      {"blocks", with("compressed-tensors:nvfp4", [](auto& o) { o.act_bits = 16; }), "act_bits",
       "compressed-tensors:nvfp4a16"},
      {"second scale",
       with("none", [](auto& o) { o.act_grid = "mxfp4", o.act_bits = 4, o.act_global_scale = 8; }),
       "act_global_scale", "compressed-tensors:nvfp4"},
      {"second scale", with("compressed-tensors:nvfp4", [](auto& o) { o.act_global_scale = 3; }),
       "act_global_scale", "power of two"},
      {"lsq", with("gguf:mxfp4", [](auto& o) { o.estimator = "lsq"; }), "estimator", "half_int"}};
  for (const Wrong& wrong : all) {
    Problems keys;
    wrong.options.check(keys);
    EXPECT_THAT(keys.at, ElementsAre(wrong.key)) << wrong.what << keys.all;
    EXPECT_THAT(keys.all, ::testing::HasSubstr(wrong.names)) << wrong.what;
  }
}

// What every row of the table fixes; a new format changes this list.
TEST(Plan, TargetsFixTheirGrid) {
  struct Row {
    const char *target, *weight, *rule, *activations;
  };
  const Row rows[] = {
      {"none", "half_int b4 g0 f32 h128 [-8,7] +0.5", "rms", ""},
      {"gguf:q4_0", "int_signed b4 g32 f16 h0 [-8,7] +0", "signed_max", ""},
      {"gguf:q4_1", "half_int b4 g32 f16_7bit h0 [-8,7] +0.5", "absmax", ""},
      {"gguf:q8_0", "int_signed b8 g32 f16 h0 [-127,127] +0", "absmax", ""},
      {"gguf:q2_0", "ternary b2 g64 f16 h0 [-1,1] +0", "rms", ""},
      {"gguf:tq2_0", "ternary b2 g256 f16 h0 [-1,1] +0", "rms", ""},
      {"gguf:q1_0", "half_int b1 g128 f16 h0 [-1,0] +0.5", "absmean", ""},
      {"gguf:mxfp4", "fp4 b4 g32 e8m0 h0 [-12,12] +0 x0.5", "mx_round", ""},
      {"gguf:nvfp4", "fp4 b4 g16 e4m3 h0 [-12,12] +0 x0.5", "absmax", ""},
      {"compressed-tensors:w4a16", "int_signed b4 g128 bf16 h0 [-8,7] +0", "rms", ""},
      {"compressed-tensors:w8a8", "int_signed b8 g0 bf16 h0 [-128,127] +0", "absmax",
       "int_signed b8 g0 f32 h0 [-128,127] +0"},
      {"compressed-tensors:w4a4", "int_signed b4 g128 bf16 h0 [-8,7] +0", "rms",
       "int_signed b4 g0 f32 h0 [-8,7] +0"},
      {"compressed-tensors:w4a4-hadamard", "int_signed b4 g128 bf16 h128 [-8,7] +0", "rms",
       "int_signed b4 g0 f32 h128 [-8,7] +0"},
      {"compressed-tensors:nvfp4", "fp4 b4 g16 e4m3 h0 [-12,12] +0 x0.5", "absmax",
       "fp4 b4 g16 e4m3 h0 [-12,12] +0 x0.5"},
      {"compressed-tensors:nvfp4a16", "fp4 b4 g16 e4m3 h0 [-12,12] +0 x0.5", "absmax", ""},
      {"compressed-tensors:mxfp4", "fp4 b4 g32 e8m0 h0 [-12,12] +0 x0.5", "mx_round",
       "fp4 b4 g32 e8m0 h0 [-12,12] +0 x0.5"},
      {"compressed-tensors:mxfp4a16", "fp4 b4 g32 e8m0 h0 [-12,12] +0 x0.5", "mx_round", ""},
      {"onnx:int4", "int_signed b4 g32 f32 h0 [-8,7] +0", "absmax", ""},
      {"onnx:int8", "int_signed b8 g0 f32 h0 [-128,127] +0", "absmax", ""}};
  size_t quantizing = 0;
  for (const Target& target : targets()) quantizing += target.quantizes ? 1 : 0;
  EXPECT_EQ(quantizing, std::size(rows));
  for (const Row& row : rows) {
    QatOptions o;
    o.target = row.target;
    EXPECT_THAT(problems(o), IsEmpty()) << row.target;
    const LayerPlan plan = plan_layer(o, "layer", 256);
    EXPECT_EQ(to_string(plan.weight->grid.format), row.weight);
    EXPECT_STREQ(to_string(plan.weight->grid.rule), row.rule) << row.target;
    EXPECT_EQ(plan.activations ? to_string(plan.activations->grid.format) : "", row.activations);
  }
  for (const char* dense : {"gguf:f32", "gguf:f16", "gguf:bf16"}) {
    QatOptions o;
    o.target = dense;
    EXPECT_FALSE(plan_layer(o, "layer", 256).weight);
    o.act_bits = 8;
    EXPECT_EQ(plan_layer(o, "layer", 256).activations->grid.format.hadamard, 0);
  }
  EXPECT_THROW(plan_layer(with("gguf:q9", [](auto&) {}), "layer", 256), Error);
}

TEST(Plan, ChoicesWithinATarget) {
  const auto grid = [](const QatOptions& o) {
    EXPECT_THAT(problems(o), IsEmpty());
    return weight_grid(o);
  };
  const Grid small = grid(with("compressed-tensors:w4a16", [](auto& o) { o.group = 32; }));
  EXPECT_EQ(small.format.group, 32);
  EXPECT_EQ(small.rule, ScaleRule::absmax);
  const Grid rms = grid(with("gguf:q4_0", [](auto& o) { o.scale = "rms"; }));
  EXPECT_EQ(rms.rule, ScaleRule::rms);
  EXPECT_EQ(rms.rounding, Rounding::nearest);
  EXPECT_FALSE(rms.ggml);
  EXPECT_EQ(grid(with("gguf:mxfp4", [](auto& o) { o.scale = "mx_floor"; })).rule,
            ScaleRule::mx_floor);
  const QatOptions fp4 = with("none", [](auto& o) { o.grid = "fp4", o.act_bits = 4; });
  EXPECT_EQ(to_string(grid(fp4).format), "fp4 b4 g0 f32 h0 [-12,12] +0 x0.5");
  EXPECT_EQ(activation_grid(fp4).format.grid, "fp4");
  const QatOptions ternary = with("none", [](auto& o) { o.grid = "ternary", o.act_bits = 2; });
  EXPECT_EQ(activation_grid(ternary).format.grid, "half_int");
  EXPECT_EQ(activation_grid(with("none", [](auto& o) { o.act_grid = "ternary", o.act_bits = 2; }))
                .format.grid,
            "ternary");
}

TEST(Plan, BitnetIsThePapersArithmetic) {
  for (const char* target : {"none", "gguf:tq2_0"}) {
    const QatOptions o = with(target, [](auto& q) { q.estimator = "bitnet"; });
    EXPECT_THAT(problems(o), IsEmpty());
    EXPECT_EQ(o.activation_bits(), 8);
    const LayerPlan plan = plan_layer(o, "layer", 256);
    EXPECT_EQ(plan.weight->grid.format.group, -1);
    EXPECT_EQ(plan.weight->grid.rule, ScaleRule::absmean);
    EXPECT_FALSE(plan.weight->estimator.masks());
    EXPECT_EQ(plan.activations->grid.rule, ScaleRule::absmax);
    EXPECT_EQ(plan.activations->grid.step, 127.0f);
    EXPECT_EQ(plan.weight->grid.format.hadamard, 0);
  }
}

TEST(Plan, RotationFallsBackLayerByLayerAndSaysSo) {
  QatOptions o;
  o.target = "none";
  o.act_bits = 4;
  EXPECT_EQ(plan_layer(o, "layer", 512).remark, "");
  const LayerPlan plan = plan_layer(o, "mlp.down_proj", 480);
  EXPECT_EQ(plan.weight->grid.format.hadamard, 32);
  EXPECT_EQ(plan.activations->grid.format.hadamard, 32);
  EXPECT_EQ(plan.remark,
            "layer 'mlp.down_proj': 480 inputs are no multiple of 128, so it is rotated in blocks "
            "of 32");
  o.hadamard = 256;
  EXPECT_EQ(plan_layer(o, "layer", 512).weight->grid.format.hadamard, 256);
  EXPECT_EQ(plan_layer(o, "layer", 37).weight->grid.format.hadamard, 0);
  EXPECT_THAT(plan_layer(o, "layer", 37).remark, ::testing::HasSubstr("not rotated"));
  o.hadamard = 0;
  EXPECT_EQ(plan_layer(o, "layer", 37).remark, "");
}

TEST(Plan, FilesBlocksMustFit) {
  for (const char* target : {"gguf:tq2_0", "gguf:q1_0", "gguf:nvfp4", "compressed-tensors:w4a16"})
    EXPECT_THROW(plan_layer(with(target, [](auto&) {}), "layer", 480), Error) << target;
  const auto blocks = [](auto& o) { o.act_grid = "mxfp4", o.act_bits = 4, o.weight_bits = 16; };
  EXPECT_THROW(plan_layer(with("none", blocks), "layer", 48), Error);
  EXPECT_NO_THROW(plan_layer(with("none", blocks), "layer", 96));
  EXPECT_THROW(
      plan_layer(with("gguf:tq2_0", [](auto& o) { o.estimator = "bitnet"; }), "layer", 128), Error);
}

TEST(Plan, GlobalScaleIsTheRecipes) {
  const auto second = [](const QatOptions& o) {
    EXPECT_THAT(problems(o), IsEmpty());
    return plan_layer(o, "layer", 256).activations->grid.second;
  };
  EXPECT_EQ(second(with("compressed-tensors:nvfp4", [](auto&) {})), 0.125f);
  EXPECT_EQ(second(with("compressed-tensors:nvfp4", [](auto& o) { o.act_global_scale = 64; })),
            0x1p-6f);
  EXPECT_EQ(
      second(with("none",
                  [](auto& o) { o.act_grid = "nvfp4", o.act_bits = 4, o.act_global_scale = 0.5; })),
      2.0f);
  EXPECT_EQ(second(with("compressed-tensors:mxfp4", [](auto&) {})), 1.0f);
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
  for (const std::string text : {"straight_through", "clip(2.5)", "trust(0.5)", "lsq"})
    EXPECT_EQ(to_string(parse_estimator(text, 4)), text);
  for (const std::string text :
       {"clip(", "clip(-1)", "clip(x)", "trust(1)x", "lsq(1)", "straight_through(1)", "clip(nan)"})
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
