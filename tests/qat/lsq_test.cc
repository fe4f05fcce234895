// Learned steps: against QuEST's LSQ baseline and ParetoQ's (golden/make_lsq.py, make_paretoq.py),
// against LibTorch's autograd of the formula in fp64, and inside a linear layer.
#include "qat/lsq.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "qat/learned_step.h"
#include "qat/masked.h"
#include "qat/quantized_linear.h"
#include "qat/representation.h"
#include "qat/tensors.h"
#include "tests/support/golden_file.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

Quantizer learned(const std::string& grid, int bits, int64_t group, int64_t hadamard = 0,
                  ScaleType type = ScaleType::f32) {
  return {learned_grid(mse_grid(grid, bits, group, type, hadamard)), parse_estimator("lsq", bits)};
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b.to(at::kDouble)).norm() / b.to(at::kDouble).norm()).item<double>();
}

at::Tensor tensor_of(std::vector<float> values, int64_t rows, int64_t columns) {
  return at::from_blob(values.data(), {rows, columns}, at::kFloat).clone();
}

TEST(Lsq, EqualsQuestsBaseline) {
  GoldenFile file("qat/golden/lsq.bin");
  const int64_t cases = file.integer();
  ASSERT_GT(cases, 0);
  for (int64_t i = 0; i < cases; ++i) {
    const int64_t rows = file.integer(), columns = file.integer(), bits = file.integer();
    const bool half = file.integer() == 1;
    const double factor = file.number();
    SCOPED_TRACE(
        fmt::format("{} bits, half {}, {} x {}, factor {}", bits, half, rows, columns, factor));
    const at::Tensor values = tensor_of(file.list<float>(rows * columns), rows, columns);
    const at::Tensor d = tensor_of(file.list<float>(rows * columns), rows, columns);
    const float first = file.list<float>(1)[0];
    const at::Tensor output = tensor_of(file.list<float>(rows * columns), rows, columns);
    const at::Tensor d_values = tensor_of(file.list<float>(rows * columns), rows, columns);
    const double d_step = file.number();

    const auto lsq = make_lsq(
        "w", learned(half ? "half_int" : "int_signed", static_cast<int>(bits), -1), values);
    at::Tensor log = lsq->parameters().at(0).value;
    ASSERT_EQ(log.numel(), 1);
    // fp32 means of up to 384 values there, fp64 here; a logarithm that is rounded to fp32.
    EXPECT_NEAR(std::exp(log.item<double>()) / first, 1.0, 1e-6);
    log.detach().fill_(std::log(static_cast<double>(first) * factor));
    at::Tensor decoded = at::empty_like(values);
    lsq->encode(values, decoded);
    const double step = lsq->codes().scales.at(0);
    // An element on the border of two codes could fall on the other side; none of these does.
    EXPECT_TRUE(at::allclose(decoded, output, 1e-5, 1e-7));
    const RepresentationGradients ours = lsq->backward(d);
    // Upstream divides by the step and multiplies again: two roundings of fp32.
    EXPECT_TRUE(at::allclose(ours.weight, d_values, 3e-7, 0));
    const double scaled = ours.parameters.at(0).item<double>() * step;
    EXPECT_NEAR(scaled, d_step, 2e-5 * std::fabs(d_step) + 1e-7);
  }
  EXPECT_TRUE(file.done());
}

TEST(Lsq, EqualsParetoQ) {
  GoldenFile file("qat/golden/paretoq.bin");
  const int64_t cases = file.integer();
  ASSERT_GT(cases, 0);
  for (int64_t i = 0; i < cases; ++i) {
    const int64_t rows = file.integer(), columns = file.integer(), bits = file.integer();
    const int64_t steps = file.integer();
    SCOPED_TRACE(fmt::format("{} bits, {} x {}, {} steps", bits, rows, columns, steps));
    const auto list = [&] { return tensor_of(file.list<float>(rows * columns), rows, columns); };
    const at::Tensor logs = tensor_of(file.list<float>(steps), 1, steps).view({steps});
    const at::Tensor values = list(), d = list(), output = list(), d_values = list();
    const at::Tensor d_steps = tensor_of(file.list<float>(steps), 1, steps).view({steps});

    const auto lsq =
        make_lsq("w", learned("int_signed", static_cast<int>(bits), steps == 1 ? -1 : 0), values);
    const at::Tensor log = lsq->parameters().at(0).value.detach();
    ASSERT_EQ(log.numel(), steps);
    log.copy_(logs.view(log.sizes()));
    at::Tensor decoded = at::empty_like(values);
    lsq->encode(values, decoded);
    EXPECT_TRUE(at::equal(decoded, output));
    const RepresentationGradients ours = lsq->backward(d);
    EXPECT_TRUE(at::equal(ours.weight, d_values));
    // Rows: ParetoQ divides by the root of the matrix' elements, LSQ's paper and terse by that of
    // those which share the step.
    const double root = std::sqrt(static_cast<double>(steps));
    const at::Tensor scale = at::tensor(lsq->codes().scales, at::kDouble) / root;
    const at::Tensor d_ours = ours.parameters.at(0).to(at::kDouble).view({steps}) * scale;
    // Sums of up to 384 products in fp32 there, which may cancel.
    const double size = d_steps.abs().max().item<double>();
    EXPECT_TRUE(at::allclose(d_ours, d_steps.to(at::kDouble), 2e-5, 1e-6 * size));
  }
  EXPECT_TRUE(file.done());
}

at::Tensor sylvester(int64_t block) {
  at::Tensor h = at::ones({1, 1}, at::kDouble);
  while (h.size(0) < block) h = at::cat({at::cat({h, h}, 1), at::cat({h, -h}, 1)}, 0);
  return h / std::sqrt(static_cast<double>(block));
}

at::Tensor rotated(const at::Tensor& x, int64_t block) {
  return block <= 1 ? x : x.reshape({-1, block}).matmul(sylvester(block)).reshape(x.sizes());
}

// LSQ as one expression for autograd, with s by element.
at::Tensor expression(const at::Tensor& z, const at::Tensor& s, const CodeFormat& f) {
  const at::Tensor inside = (z / s - f.offset).clamp(f.code_min, f.code_max);
  const at::Tensor q = inside + (inside.round() - inside).detach();
  return (q + f.offset) * s;
}

at::Tensor by_element(const at::Tensor& steps, const CodeFormat& f, int64_t rows, int64_t columns) {
  if (f.group < 0) return steps.expand({rows, columns});
  const int64_t size = f.group == 0 ? columns : f.group;
  return steps.view({rows, columns / size}).repeat_interleave(size, 1);
}

struct Place {
  const char* grid;
  int bits;
  int64_t group, hadamard;
};

class Autograd : public ::testing::TestWithParam<Place> {};

TEST_P(Autograd, GivesTheSameGradients) {
  at::manual_seed(5);
  const auto [grid, bits, group, block] = GetParam();
  const int64_t rows = 12, columns = 64;
  const at::Tensor w = at::randn({rows, columns}).mul_(0.05), d = at::randn({rows, columns});
  const Quantizer quantizer = learned(grid, bits, group, block);
  const CodeFormat& f = quantizer.grid.format;
  const auto lsq = make_lsq("w", quantizer, w);
  lsq->encode(w, {});
  const RepresentationGradients ours = lsq->backward(d);

  const std::vector<float> stored = lsq->codes().scales;
  const at::Tensor steps = at::tensor(stored, at::kDouble).requires_grad_();
  const at::Tensor leaf = w.to(at::kDouble).requires_grad_();
  const at::Tensor z = rotated(leaf, block);
  const at::Tensor decoded = expression(z, by_element(steps, f, rows, columns), f);
  decoded.backward(d.to(at::kDouble));
  EXPECT_LT(relative(lsq->decode(), decoded.detach()), 1e-6);
  // Without rotation a choice between d and 0; with it sums of fp32.
  EXPECT_LT(relative(ours.weight, leaf.grad()), 1e-6);
  const double shared = static_cast<double>(rows * columns) / static_cast<double>(stored.size());
  const double scale = 1 / std::sqrt(shared * std::max(f.code_max, 1));
  const at::Tensor expected = steps.grad() * scale / steps.detach();
  // Sums of up to 768 products in fp32 lanes.
  EXPECT_TRUE(at::allclose(ours.parameters.at(0).to(at::kDouble), expected, 1e-5,
                           1e-5 * expected.abs().max().item<double>()));
}

std::vector<Place> places() {
  std::vector<Place> all;
  for (const char* grid : {"half_int", "int_signed", "int_symmetric"})
    for (const int bits : {1, 2, 3, 4, 8})
      for (const auto& [group, block] :
           {std::pair<int64_t, int64_t>{-1, 0}, {0, 32}, {16, 0}, {-1, 64}})
        if (bits > 1 || std::string(grid) != "int_symmetric")
          all.push_back({grid, bits, group, block});
  return all;
}

std::string place_name(const ::testing::TestParamInfo<Place>& test) {
  const auto& [grid, bits, group, hadamard] = test.param;
  const std::string scale = group < 0    ? "matrix"
                            : group == 0 ? "row"
                                         : fmt::format("group{}", group);
  return test_name(fmt::format("{} {} {} hadamard{}", grid, bits, scale, hadamard));
}

INSTANTIATE_TEST_SUITE_P(Grids, Autograd, ::testing::ValuesIn(places()), place_name);

TEST(Lsq, ThreadsDoNotChangeBits) {
  at::manual_seed(6);
  const at::Tensor w = at::randn({300, 256}).to(at::kBFloat16), d = at::randn({300, 256});
  const Quantizer quantizer = learned("int_signed", 4, -1, 128);
  LearnedStep step = LearnedStep::of_input(quantizer.grid.format, 256, at::kCPU);
  step.start(w);
  step.refresh("x");
  at::Tensor codes = at::empty({300, 256}, at::kChar), mask = at::empty({300, 32}, at::kByte);
  quantize_tensor(quantizer, w, {codes, step.scales(), mask, {}});
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor one = step.gradient(w, codes, mask, d);
  at::set_num_threads(3);
  const at::Tensor three = step.gradient(w, codes, mask, d);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one, three));
}

// The scale is what the file holds, and at least its type's smallest normal number.
TEST(Lsq, StepsAreRoundedToTheirType) {
  at::manual_seed(7);
  const at::Tensor w = at::randn({8, 64}).mul_(0.03);
  const auto lsq = make_lsq("w", learned("int_signed", 4, 32, 0, ScaleType::f16), w);
  lsq->encode(w, {});
  const Codes codes = lsq->codes();
  codes.validate("w");
  EXPECT_EQ(codes.scales.size(), 16u);
  const at::Tensor logs = lsq->parameters()[0].value.detach();
  for (size_t i = 0; i < codes.scales.size(); ++i) {
    const double step = std::exp(logs[static_cast<int64_t>(i)].item<double>());
    EXPECT_NEAR(codes.scales[i] / step, 1.0, 0x1p-11 * 1.001);
  }
  EXPECT_EQ(lsq_scale(-60.0, ScaleType::f16), 0x1p-14f);
  EXPECT_TRUE(std::isinf(lsq_scale(60.0, ScaleType::f16)));
}

TEST(Lsq, OneBitStartsAtTheMeanMagnitude) {
  const std::vector<float> z = {1, -2, 3, -6};
  const CodeFormat f = learned("half_int", 1, 0).grid.format;
  EXPECT_DOUBLE_EQ(lsq_start(f, z.data(), 1, 4)[0] / 2, 3.0);
}

TEST(Lsq, AZeroWeightStillLearns) {
  const at::Tensor w = at::zeros({8, 64}).requires_grad_();
  QatOptions o;
  o.target = "none";
  o.estimator = "lsq";
  o.hadamard = 0;
  o.grid = "int_signed";
  QuantizedLinear layer("a", w, o, at::kFloat);
  layer.refresh();
  const at::Tensor x = at::randn({5, 64});
  layer.forward(x).sum().backward();
  EXPECT_TRUE(at::allclose(w.grad(), x.sum(0).expand({8, 64}), 1e-5, 1e-5));
}

// Weight and input of a layer, both learned: forward and all three gradients, over two
// micro-batches.
TEST(Lsq, ALayerLearnsBothSteps) {
  at::manual_seed(8);
  QatOptions o;
  o.target = "none";
  o.weight_bits = 4;
  o.act_bits = 3;
  o.hadamard = 32;
  o.estimator = "lsq";
  const at::Tensor w = at::randn({24, 64}).mul_(0.05).requires_grad_();
  QuantizedLinear layer("a", w, o, at::kFloat);
  ASSERT_EQ(layer.learned().size(), 2u);
  EXPECT_EQ(layer.learned()[0].name, "a.log_step");
  EXPECT_EQ(layer.learned()[1].name, "a.input_log_step");
  layer.refresh();
  const at::Tensor x1 = at::randn({10, 64}).requires_grad_(), x2 = at::randn({6, 64});
  ASSERT_TRUE(layer.calibrate());
  layer.forward(x1.detach());
  const CodeFormat f = mse_grid("half_int", 3, -1, ScaleType::f32, 32).format;
  const at::Tensor z1 = rotated(x1.detach().to(at::kDouble), 32);
  EXPECT_NEAR(layer.input()->scale, 2 * z1.abs().mean().item<double>() / std::sqrt(3.0), 1e-6);
  layer.refresh();
  EXPECT_NEAR(layer.input()->scale, 2 * z1.abs().mean().item<double>() / std::sqrt(3.0), 1e-6);

  const at::Tensor d1 = at::randn({10, 24}), d2 = at::randn({6, 24});
  const at::Tensor y = layer.forward(x1);
  y.backward(d1);
  layer.forward(x2).backward(d2);

  const at::Tensor s_x = at::full({1}, double{layer.input()->scale}, at::kDouble).requires_grad_();
  const at::Tensor s_w =
      at::full({1}, double{layer.codes().scales.at(0)}, at::kDouble).requires_grad_();
  const CodeFormat g = layer.codes().format;
  const at::Tensor w64 = w.detach().to(at::kDouble).requires_grad_();
  const at::Tensor x64 = x1.detach().to(at::kDouble).requires_grad_();
  const auto product = [&](const at::Tensor& x) {
    return expression(rotated(x, 32), s_x.expand(x.sizes()), f)
        .matmul(expression(rotated(w64, 32), s_w.expand(w64.sizes()), g).t());
  };
  const at::Tensor y64 = product(x64);
  y64.backward(d1.to(at::kDouble));
  product(x2.to(at::kDouble)).backward(d2.to(at::kDouble));
  EXPECT_LT(relative(y.detach(), y64.detach()), 1e-5);
  EXPECT_LT(relative(x1.grad(), x64.grad()), 1e-5);
  EXPECT_LT(relative(w.grad(), w64.grad()), 1e-5);
  const double of_weight = 1 / std::sqrt(24.0 * 64 * 7), of_input = 1 / std::sqrt(64.0 * 3);
  EXPECT_LT(relative(layer.learned()[0].value.grad(), s_w.grad() * of_weight / s_w.detach()), 1e-4);
  EXPECT_LT(relative(layer.learned()[1].value.grad(), s_x.grad() * of_input / s_x.detach()), 1e-4);
}

// Only the input is quantized: its edge in autograd is another one then.
TEST(Lsq, AnInputAloneLearnsItsStep) {
  at::manual_seed(9);
  QatOptions o;
  o.target = "none";
  o.weight_bits = 16;
  o.act_bits = 4;
  o.estimator = "lsq";
  const at::Tensor w = at::randn({8, 32}).requires_grad_();
  QuantizedLinear layer("a", w, o, at::kFloat);
  ASSERT_EQ(layer.learned().size(), 1u);
  layer.refresh();
  layer.calibrate();
  layer.forward(at::randn({40, 32})).square().sum().backward();
  const at::Tensor gradient = layer.learned()[0].value.grad();
  ASSERT_TRUE(gradient.defined());
  EXPECT_NE(gradient.item<double>(), 0);
}

TEST(Lsq, ANaNInATokenReachesItsOutputsOnly) {
  QatOptions o;
  o.target = "none";
  o.act_bits = 4;
  o.estimator = "lsq";
  QuantizedLinear layer("a", at::randn({8, 128}).requires_grad_(), o, at::kFloat);
  layer.refresh();
  at::Tensor x = at::randn({3, 128});
  x[1][5] = std::nan("");
  const at::Tensor bad = layer.forward(x).isnan();
  EXPECT_TRUE(bad[1].all().item<bool>());
  EXPECT_FALSE(bad[0].any().item<bool>());
  EXPECT_FALSE(bad[2].any().item<bool>());
}

TEST(Lsq, NaNInTheWeightAndAStepTooLargeNameTheLayer) {
  at::Tensor w = at::randn({4, 64});
  const auto lsq = make_lsq("layer.7", learned("int_signed", 4, 32, 0, ScaleType::f16), w);
  const auto message = [&] {
    try {
      lsq->encode(w, {});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::non_finite);
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(), "");
  w[2][3] = std::nan("");
  EXPECT_NE(message().find("layer.7"), std::string::npos) << message();
  w[2][3] = 0;
  lsq->parameters()[0].value.detach()[3] = 40.0;
  EXPECT_NE(message().find("step 3"), std::string::npos) << message();
}

// Behind a mask the step gets the derivative of what the forward computes.
TEST(Lsq, BehindAMaskTheStepFollowsTheForward) {
  at::manual_seed(10);
  const at::Tensor w = at::randn({6, 32}).mul_(0.05), d = at::randn({6, 32});
  LayerMask plan;
  plan.schedule.pattern = parse_pattern("1:4");
  Masked masked("w", plan, make_lsq("w", learned("int_signed", 4, -1), w));
  const auto bare = make_lsq("w", learned("int_signed", 4, -1), w);
  at::Tensor decoded = at::empty({6, 32});
  masked.encode(w, decoded);
  bare->encode(w, {});
  const at::Tensor kept =
      w.abs().view({-1, 4}).argsort(int64_t{1}, true).argsort(int64_t{1}).eq(0).view({6, 32});
  const RepresentationGradients ours = masked.backward(d);
  const at::Tensor only = bare->backward(d * kept).parameters.at(0);
  EXPECT_TRUE(at::allclose(ours.parameters.at(0), only));
  EXPECT_TRUE(at::equal(ours.weight, bare->backward(d).weight));  // straight through
}

TEST(Lsq, GridsWithoutAStepAreRefused) {
  Grid grid = mse_grid("int_signed", 4, 32, ScaleType::e8m0, 0);
  try {
    learned_grid(grid);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find("half_int"), std::string::npos);
  }
  EXPECT_THROW(parse_estimator("lsq(2)", 4), Error);
  EXPECT_EQ(to_string(parse_estimator("lsq", 1)), "lsq");
}

}  // namespace
}  // namespace terse
