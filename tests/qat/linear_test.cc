#include "qat/quantized_linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "qat/representation.h"
#include "qat/tensors.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

at::Tensor leaf(int64_t rows, int64_t columns) {
  return at::randn({rows, columns}).mul_(0.05).requires_grad_();
}

QatOptions options(const std::string& target, int64_t weight_bits = 0, int64_t act_bits = 16) {
  QatOptions o;
  o.target = target;
  o.weight_bits = weight_bits;
  o.act_bits = act_bits;
  return o;
}

QuantizedLinear fresh(const at::Tensor& weight, const QatOptions& o, at::ScalarType compute) {
  QuantizedLinear layer("model.layers.0.mlp.down_proj", weight, o, compute);
  layer.refresh();
  return layer;
}

// The oracle: QuEST's linear as one expression for LibTorch's own autograd, in fp64.
struct Composed {
  at::Tensor y, dx, dw;
};

at::Tensor sylvester(int64_t block) {
  at::Tensor h = at::ones({1, 1}, at::kDouble);
  while (h.size(0) < block) h = at::cat({at::cat({h, h}, 1), at::cat({h, -h}, 1)}, 0);
  return h / std::sqrt(static_cast<double>(block));
}

at::Tensor rotated(const at::Tensor& x, int64_t block) {
  return block == 0 ? x : x.reshape({-1, block}).matmul(sylvester(block)).reshape(x.sizes());
}

// half-int grid and trust estimator on the last dimension, with the stored fp32 scale.
at::Tensor fake_quantized(const at::Tensor& z, int bits) {
  const double n = 1 << bits;
  const at::Tensor sigma = z.detach().pow(2).mean(-1, true).sqrt();
  const at::Tensor step = (sigma * mse_step("half_int", bits) + 2e-8 / (n - 1)).to(at::kFloat);
  const at::Tensor s = step.to(at::kDouble);
  const at::Tensor zq = ((z.detach() / s).floor().clamp(-n / 2, n / 2 - 1) + 0.5) * s;
  const at::Tensor mask = ((zq - z.detach()).abs() <= s / 2 * (1 + 1e-6)).to(at::kDouble);
  return z * mask + (zq - z * mask).detach();
}

Composed composed(const at::Tensor& x, const at::Tensor& w, const at::Tensor& dy, int bits,
                  int64_t block) {
  const at::Tensor x64 = x.detach().to(at::kDouble).requires_grad_();
  const at::Tensor w64 = w.detach().to(at::kDouble).requires_grad_();
  const at::Tensor y = fake_quantized(rotated(x64, block), bits)
                           .matmul(fake_quantized(rotated(w64, block), bits).t());
  y.backward(dy.to(at::kDouble));
  return {y.detach(), x64.grad(), w64.grad()};
}

double relative(const at::Tensor& a, const at::Tensor& b) {
  return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
}

TEST(PlainLinear, EqualsAtenInFp32) {
  at::manual_seed(1);
  const at::Tensor w = leaf(48, 64);
  QuantizedLinear layer = fresh(w, {}, at::kFloat);
  EXPECT_FALSE(layer.quantized());
  const at::Tensor x = at::randn({3, 5, 64}).requires_grad_();
  const at::Tensor dy = at::randn({3, 5, 48});
  const at::Tensor y = layer.forward(x);
  y.backward(dy);
  EXPECT_TRUE(at::equal(y, at::linear(x, w)));
  EXPECT_TRUE(at::allclose(x.grad(), dy.matmul(w), 1e-6, 1e-6));
  EXPECT_TRUE(at::allclose(w.grad(), dy.reshape({15, 48}).t().mm(x.reshape({15, 64})), 1e-5, 1e-5));
}

TEST(PlainLinear, Bf16KeepsAnFp32GradientThatAccumulates) {
  at::manual_seed(2);
  const at::Tensor w = leaf(32, 64);
  QuantizedLinear layer = fresh(w, {}, at::kBFloat16);
  const at::Tensor x = at::randn({40, 64}).to(at::kBFloat16);
  const at::Tensor y = layer.forward(x);
  EXPECT_EQ(y.scalar_type(), at::kBFloat16);
  y.backward(at::ones_like(y));
  const at::Tensor once = w.grad().clone();
  EXPECT_EQ(once.scalar_type(), at::kFloat);
  layer.forward(x).backward(at::ones_like(y));
  EXPECT_TRUE(at::equal(w.grad(), once * 2));
  EXPECT_TRUE(at::equal(layer.effective_weight(), w.detach().to(at::kBFloat16).to(at::kFloat)));
}

class W4A4 : public ::testing::TestWithParam<std::pair<int, int64_t>> {};

TEST_P(W4A4, ForwardAndGradientsEqualTheComposedExpression) {
  at::manual_seed(3);
  const auto [bits, block] = GetParam();
  QatOptions o = options("none", bits, bits);
  o.hadamard = block;
  o.estimator = "trust";
  const at::Tensor w = leaf(96, 256);
  QuantizedLinear layer = fresh(w, o, at::kFloat);
  const at::Tensor x = at::randn({2, 30, 256}).requires_grad_();
  const at::Tensor dy = at::randn({2, 30, 96});
  const at::Tensor y = layer.forward(x);
  y.backward(dy);
  const Composed oracle = composed(x, w, dy, bits, block);
  // fp32 against fp64: rounding is 1e-7; a code that sits on a boundary of the grid may fall on the
  // other side, one in some ten thousand at 8 bits, which moves a norm by far less than 1e-3.
  EXPECT_LT(relative(y.detach(), oracle.y), 1e-3);
  EXPECT_LT(relative(x.grad(), oracle.dx), 1e-3);
  EXPECT_LT(relative(w.grad(), oracle.dw), 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Bits, W4A4,
                         ::testing::Values(std::pair{4, int64_t{128}}, std::pair{4, int64_t{0}},
                                           std::pair{2, int64_t{128}}, std::pair{8, int64_t{64}},
                                           std::pair{3, int64_t{256}}),
                         [](const auto& test) {
                           return fmt::format("bits{}_hadamard{}", test.param.first,
                                              test.param.second);
                         });

TEST(QuantizedLinear, RotationInsideTheProductCancels) {
  // HalfHadamard: rotating both sides equals rotating each back after quantizing, up to fp32.
  at::manual_seed(4);
  const at::Tensor w = leaf(32, 256);
  const at::Tensor x = at::randn({20, 256}), x64 = x.to(at::kDouble);
  for (const int64_t act_bits : {16, 4}) {
    QuantizedLinear layer = fresh(w, options("none", 4, act_bits), at::kFloat);
    const at::Tensor weight = rotated(layer.effective_weight().to(at::kDouble), 128);
    const at::Tensor input =
        act_bits == 16 ? x64 : rotated(fake_quantized(rotated(x64, 128), 4), 128);
    // Activations of fp32 on the border of two codes may fall on the other side in fp64: W4A4.
    EXPECT_LT(relative(layer.forward(x).detach(), input.matmul(weight.t())),
              act_bits == 16 ? 1e-5 : 1e-3);
    // Far from what either side alone would give.
    EXPECT_GT(relative(layer.forward(x).detach(), rotated(input, 128).matmul(weight.t())), 0.5);
  }
}

class Promise : public ::testing::TestWithParam<const char*> {};

TEST_P(Promise, TheMatmulSeesTheCodes) {
  at::manual_seed(5);
  const at::Tensor w = leaf(40, 256);
  for (const at::ScalarType compute : {at::kFloat, at::kBFloat16}) {
    QuantizedLinear layer = fresh(w, options(GetParam()), compute);
    const Codes codes = layer.codes();
    codes.validate("w");
    at::Tensor decoded = at::empty({40, 256});
    codes.decode(decoded.data_ptr<float>());
    EXPECT_TRUE(at::equal(layer.effective_weight(), decoded));
    if (codes.format.hadamard > 0) continue;
    // A product with the identity shows every weight that the matmul saw.
    const at::Tensor seen = layer.forward(at::eye(256, at::TensorOptions().dtype(compute)));
    EXPECT_TRUE(at::equal(seen.detach().t(), decoded.to(compute)));
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, Promise,
                         ::testing::Values("gguf:q4_0", "gguf:q4_1", "gguf:q8_0", "gguf:q2_0",
                                           "gguf:tq2_0", "gguf:q1_0", "gguf:mxfp4", "gguf:nvfp4",
                                           "compressed-tensors:w4a16", "onnx:int8", "none"),
                         [](const auto& test) { return test_name(test.param); });

TEST(QuantizedLinear, RunsOnGivenCodes) {
  at::manual_seed(6);
  const at::Tensor trained = leaf(24, 64);
  QuantizedLinear source = fresh(trained, options("gguf:q4_0"), at::kBFloat16);
  const at::Tensor other = leaf(24, 64);
  QuantizedLinear layer = fresh(other, options("gguf:q4_0"), at::kBFloat16);
  layer.use_codes(source.codes());
  layer.refresh();  // must not encode the weight again
  const at::Tensor x = at::randn({7, 64}).to(at::kBFloat16).requires_grad_();
  const at::Tensor y = layer.forward(x);
  EXPECT_TRUE(at::equal(y, source.forward(x)));
  EXPECT_TRUE(at::equal(layer.effective_weight(), source.effective_weight()));
  EXPECT_EQ(layer.codes().codes, source.codes().codes);
  y.backward(at::ones_like(y));
  EXPECT_FALSE(other.grad().defined());

  QuantizedLinear wrong = fresh(other, options("gguf:q8_0"), at::kBFloat16);
  EXPECT_THROW(wrong.use_codes(source.codes()), Error);
  // A layer that no recipe quantizes runs on a file's codes all the same.
  QuantizedLinear plain = fresh(other, {}, at::kBFloat16);
  plain.use_codes(source.codes());
  EXPECT_TRUE(at::equal(plain.forward(x), y));
  EXPECT_EQ(plain.codes().codes, source.codes().codes);
}

// A file's codes and its word on inputs compute what the options did, rotation included.
TEST(QuantizedLinear, RoundsItsInputAsItIsTold) {
  at::manual_seed(7);
  const at::Tensor w = leaf(128, 256), other = leaf(128, 256);
  QatOptions lsq = options("none", 4, 4), dense = options("none", 16, 4);
  lsq.estimator = "lsq";
  QatOptions rotated_blocks = options("none", 4, 4);
  rotated_blocks.act_grid = "nvfp4";
  for (const QatOptions& o : {options("none", 4, 4), lsq, options("compressed-tensors:w8a8", 0, 0),
                              options("compressed-tensors:w4a4-hadamard", 0, 0), dense,
                              options("compressed-tensors:nvfp4", 0, 0),
                              options("compressed-tensors:mxfp4", 0, 0), rotated_blocks})
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const at::Tensor x = at::randn({7, 256}).to(type).requires_grad_();
      QuantizedLinear source = fresh(w, o, type);
      if (source.calibrate()) source.forward(x);
      QuantizedLinear layer = fresh(source.quantized() ? other : w, {}, type);
      EXPECT_FALSE(layer.input());
      layer.use_input(source.input());
      EXPECT_EQ(layer.input(), source.input());
      layer.refresh();
      if (source.quantized()) layer.use_codes(source.codes());
      const at::Tensor y = layer.forward(x);
      EXPECT_TRUE(at::equal(y, source.forward(x))) << o.target;
      y.backward(at::ones_like(y));  // nothing of it learns a step
      EXPECT_TRUE(layer.learned().empty());
      layer.use_input(std::nullopt);
      EXPECT_FALSE(layer.input());
    }
}

TEST(QuantizedLinear, ZeroWeightStillLearns) {
  for (const char* target : {"gguf:q4_0", "gguf:q8_0", "none"}) {
    const at::Tensor w = at::zeros({8, 128}).requires_grad_();
    QuantizedLinear layer = fresh(w, options(target), at::kFloat);
    const at::Tensor x = at::randn({5, 128});
    layer.forward(x).sum().backward();
    EXPECT_GT(w.grad().abs().sum().item<double>(), 1.0) << target;
  }
}

TEST(QuantizedLinear, NaNInTheWeightIsAnErrorThatNamesTheLayer) {
  for (const char* target : {"gguf:q4_0", "gguf:q8_0", "none"}) {
    const at::Tensor w = at::ones({4, 128});
    w[2][17] = std::nan("");
    QuantizedLinear layer("layer.7", w.requires_grad_(), options(target), at::kFloat);
    try {
      layer.refresh();
      ADD_FAILURE() << target;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::non_finite);
      EXPECT_NE(std::string(error.what()).find("layer.7"), std::string::npos);
    }
  }
}

TEST(QuantizedLinear, NaNInATokenReachesItsOutputsOnly) {
  const at::Tensor w = leaf(8, 128);
  QuantizedLinear layer = fresh(w, options("none", 4, 4), at::kFloat);
  const at::Tensor x = at::randn({3, 128});
  x[1][5] = std::nan("");
  const at::Tensor bad = layer.forward(x).isnan();
  EXPECT_TRUE(bad[1].all().item<bool>());
  EXPECT_FALSE(bad[0].any().item<bool>());
  EXPECT_FALSE(bad[2].any().item<bool>());
}

TEST(QuantizedLinear, PatternsChooseLayers) {
  QatOptions o = options("gguf:q4_0");
  o.ignore = {"lm_head", "*.down_proj"};
  const at::Tensor w = leaf(8, 64);
  EXPECT_FALSE(QuantizedLinear("lm_head.weight", w, o, at::kFloat).quantized());
  EXPECT_FALSE(QuantizedLinear("a.down_proj", w, o, at::kFloat).quantized());
  EXPECT_TRUE(QuantizedLinear("a.up_proj", w, o, at::kFloat).quantized());
  o.targets = {"b.*"};
  EXPECT_FALSE(QuantizedLinear("a.up_proj", w, o, at::kFloat).quantized());
}

TEST(QuantizedLinear, ColumnsThatDoNotFitNameTheLayer) {
  const at::Tensor narrow = leaf(8, 48);
  try {
    const QuantizedLinear layer("odd.layer", narrow, options("gguf:q4_0"), at::kFloat);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("odd.layer"), std::string::npos);
  }
}

// 96 inputs: both sides are rotated in blocks of 32, so that the product is that of the weight.
TEST(QuantizedLinear, RotatesInTheLargestBlockThatFits) {
  at::manual_seed(9);
  const at::Tensor w = leaf(8, 96);
  QuantizedLinear layer = fresh(w, options("none", 8, 8), at::kFloat);
  EXPECT_EQ(layer.codes().format.hadamard, 32);
  const at::Tensor x = at::randn({5, 96});
  const at::Tensor exact = x.matmul(w.detach().t());
  // 8 bits on both sides leave about a hundredth of the size.
  EXPECT_LT((layer.forward(x) - exact).norm().item<float>(), 0.03f * exact.norm().item<float>());
}

}  // namespace
}  // namespace terse
