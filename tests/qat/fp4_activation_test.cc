// A linear layer whose inputs are blocks of fp4: its products and gradients against the formula in
// ATen, and what it keeps for backward.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "qat/activation.h"
#include "qat/input_format.h"
#include "qat/quantized_linear.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

// To the nearest E2M1 value, ties to the even mantissa.
at::Tensor e2m1(const at::Tensor& t) {
  const at::Tensor size = t.abs().clamp_max(6.0);
  const at::Tensor distance = at::where(size < 2, 0.5, at::where(size < 4, 1.0, 2.0));
  return (size / distance.to(size.scalar_type())).round() * distance * t.sign();
}

// compressed-tensors' formula, in fp32.
at::Tensor fake_quantized(const at::Tensor& x, const std::string& kind, float global) {
  const at::Tensor blocks = x.view({x.size(0), -1, kind == "nvfp4" ? 16 : 32});
  const at::Tensor most = blocks.abs().amax(-1, true);
  at::Tensor scale;
  if (kind == "nvfp4") {
    scale = (most / 6 * global).clamp_max(448.0).to(at::kFloat8_e4m3fn).to(at::kFloat);
    scale = at::where(scale == 0, at::full_like(scale, 0.125), scale) / global;
  } else {
    // The mantissa from 1.75 on counts as 2.
    const at::Tensor exponent = (most * (8.0 / 7.0)).log2().floor();
    scale = at::exp2(exponent - 2);
  }
  return (e2m1(blocks / scale) * scale).to(at::kFloat).view(x.sizes());
}

QatOptions options(const std::string& kind, const std::string& estimator) {
  QatOptions o;
  o.target = "compressed-tensors:" + kind;
  o.estimator = estimator;
  return o;
}

class Fp4Activation : public ::testing::TestWithParam<const char*> {};

// Straight through: what autograd makes of x + (quantized(x) - x).detach().
TEST_P(Fp4Activation, ProductsAndGradientsAreTheFormulas) {
  at::manual_seed(61);
  for (const char* estimator : {"straight_through", "clip"}) {
    const at::Tensor w = at::randn({48, 128}).mul_(0.05).requires_grad_();
    const at::Tensor x = at::randn({10, 128}).requires_grad_();
    const at::Tensor dy = at::randn({10, 48});
    QuantizedLinear layer("layer", w, options(GetParam(), estimator), at::kFloat);
    layer.refresh();
    const at::Tensor y = layer.forward(x);
    y.backward(dy);

    const at::Tensor weight = layer.effective_weight();
    const at::Tensor xq = fake_quantized(x.detach(), GetParam(), 8.0f);
    EXPECT_FALSE(at::equal(xq, x.detach()));
    // Products in fp32 of the same numbers, the same calls.
    EXPECT_TRUE(at::allclose(y, at::linear(xq, weight), 1e-5, 1e-5)) << estimator;
    EXPECT_TRUE(at::allclose(x.grad(), at::mm(dy, weight), 1e-5, 1e-5)) << estimator;
    if (std::string(estimator) == "straight_through") {
      EXPECT_TRUE(at::allclose(w.grad(), at::mm(dy.t(), xq), 1e-5, 1e-5));
    }
  }
}

// No gradient reaches a value beyond what the second scale can hold.
TEST_P(Fp4Activation, WhatSaturatesGetsNoGradient) {
  at::manual_seed(62);
  const at::Tensor w = at::randn({32, 64}).requires_grad_();
  const at::Tensor x = at::randn({3, 64});
  x[1][40] = 1000.0f;
  x.requires_grad_();
  QuantizedLinear layer("layer", w, options(GetParam(), "trust"), at::kFloat);
  layer.refresh();
  layer.forward(x).sum().backward();
  const bool saturates = std::string(GetParam()) == "nvfp4";
  EXPECT_EQ(x.grad()[1][40].item<float>() == 0.0f, saturates);
  EXPECT_EQ((x.grad() == 0).sum().item<int64_t>(), saturates ? 1 : 0);
}

// Half a byte a code, a bit a mask, and a scale in a byte or two a block.
TEST_P(Fp4Activation, KeepsPackedCodes) {
  at::manual_seed(63);
  const bool nv = std::string(GetParam()) == "nvfp4";
  const Grid grid = input_grid(nv ? nvfp4_input(8) : mxfp4_input(), 0);
  const Quantizer quantizer{grid, parse_estimator("trust", 4)};
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = at::randn({6, 256}).to(type);
    x[2][7] = std::nanf("");
    KeptActivation kept;
    const at::Tensor decoded = quantize_activation(quantizer, x, {}, kept);
    EXPECT_EQ(kept.codes.bytes.nbytes(), 6u * 128);
    EXPECT_EQ(kept.mask.nbytes(), 6u * 32);
    EXPECT_EQ(kept.scales.nbytes(), nv ? 6u * 16 : 6u * 8 * 2);
    EXPECT_FALSE(kept.x.defined());
    EXPECT_TRUE(decoded[2].isnan().any().item<bool>());
    EXPECT_FALSE(decoded[1].isnan().any().item<bool>());
    const at::Tensor again = decode_activation(quantizer, kept, type);
    EXPECT_TRUE(at::allclose(again, decoded, 0, 0, true));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Fp4Activation, ::testing::Values("nvfp4", "mxfp4"),
                         [](const auto& test) { return test_name(test.param); });

}  // namespace
}  // namespace terse
