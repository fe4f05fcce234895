#include "qat/coded_product.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/product/product.h"
#include "qat/activation.h"
#include "qat/packed_product.h"
#include "qat/plan.h"
#include "qat/quantized_linear.h"
#include "qat/tensors.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

struct Bits {
  const char* grid;
  int weight, input;
};

void PrintTo(const Bits& bits, std::ostream* out) {
  *out << bits.grid << " W" << bits.weight << "A" << bits.input;
}

QatOptions options(const Bits& bits) {
  QatOptions o;
  o.target = "none";
  o.grid = bits.grid;
  o.weight_bits = bits.weight;
  o.act_bits = bits.input;
  return o;
}

Quantizer quantizer(const Bits& bits, int64_t hadamard) {
  return {mse_grid(bits.grid, bits.input, 0, ScaleType::f32, hadamard),
          parse_estimator("", bits.input)};
}

// (code + offset) scale, exactly.
at::Tensor exact(const CodeFormat& format, const at::Tensor& codes, const at::Tensor& scales) {
  return (codes.to(at::kDouble) + static_cast<double>(format.offset)) * scales.to(at::kDouble);
}

class CodedLinear : public ::testing::TestWithParam<Bits> {
 protected:
  void SetUp() override {
    if (!product_available()) GTEST_SKIP() << "needs AVX512_BF16 and VNNI without AMX";
    at::manual_seed(1);
  }
  at::Tensor weight_ = at::randn({128, 256}).mul_(0.05).requires_grad_();
  at::Tensor x_ = at::randn({67, 256}).to(at::kBFloat16);
};

// Rounded once to bf16 (half a unit of 8 bits: 2^-8 of the value) after three roundings of fp32;
// nothing else is lost.
TEST_P(CodedLinear, ForwardIsTheExactProductOfTheCodes) {
  QuantizedLinear layer("l", weight_, options(GetParam()), at::kBFloat16);
  layer.refresh();
  const at::Tensor y = layer.forward(x_).detach().to(at::kDouble);
  const Codes w = layer.codes();
  const Quantizer input = *plan_layer(options(GetParam()), "l", 256).activations;
  KeptActivation kept;
  const at::Tensor qa = encode_activation(input, x_, kept);
  const at::Tensor a = exact(input.grid.format, qa, kept.scales);
  const at::Tensor qw = at::tensor(w.codes, at::kChar).view({128, 256});
  const at::Tensor b = exact(w.format, qw, at::tensor(w.scales).view({128, 1}));
  const at::Tensor product = a.matmul(b.t());
  // The fp64 sum here rounds too: integers that cancel leave 0 there.
  const at::Tensor noise = a.abs().matmul(b.abs().t()) * 258 * 0x1p-53;
  const at::Tensor bound = product.abs() * (0x1p-8 + 0x1p-22) + noise;
  EXPECT_EQ(((y - product).abs() > bound).sum().item<int64_t>(), 0);
  // And so the fp32 product of decoded values, each off by 2^-24, its sum by K 2^-24 of magnitudes.
  const at::Tensor a32 = decode_activation(input, kept, at::kFloat), b32 = layer.effective_weight();
  const at::Tensor fake = a32.matmul(b32.t()).to(at::kDouble);
  const at::Tensor rounding = a32.abs().matmul(b32.abs().t()).to(at::kDouble) * 258 * 0x1p-24;
  EXPECT_EQ(((y - fake).abs() > bound + rounding).sum().item<int64_t>(), 0);
}

TEST_P(CodedLinear, GradientsEqualThoseOfDecodedValues) {
  QuantizedLinear layer("l", weight_, options(GetParam()), at::kBFloat16);
  layer.refresh();
  const at::Tensor x = x_.detach().requires_grad_();
  const at::Tensor dy = at::randn({67, 128}).to(at::kBFloat16);
  layer.forward(x).backward(dy);
  // The same from tensors of decoded values.
  const int64_t hadamard = layer.codes().format.hadamard;
  const Quantizer input = quantizer(GetParam(), hadamard);
  KeptActivation kept;
  const at::Tensor decoded = quantize_activation(input, x_, {}, kept);
  PackedWeight packed;
  packed.pack(layer.effective_weight().to(at::kBFloat16));
  EXPECT_TRUE(at::equal(x.grad(), activation_gradient(input, kept, packed.input_gradient(dy))));
  const at::Tensor dw = at::empty({128, 256});
  packed_weight_gradient(dy, panels_of(decoded), false, dw);
  const Quantizer of_weight{
      mse_grid(GetParam().grid, GetParam().weight, 0, ScaleType::f32, hadamard),
      parse_estimator("", GetParam().weight)};
  const at::Tensor mask = at::empty({128, mask_stride(256)}, at::kByte),
                   expected = at::empty_like(dw);
  quantize_tensor(of_weight, weight_.detach(), {{}, {}, mask, {}});
  rotate_tensor(dw, mask, hadamard, expected);
  EXPECT_TRUE(at::equal(weight_.grad(), expected));
}

INSTANTIATE_TEST_SUITE_P(Grids, CodedLinear,
                         ::testing::Values(Bits{"half_int", 8, 8}, Bits{"half_int", 4, 4},
                                           Bits{"half_int", 1, 1}, Bits{"int_signed", 4, 8},
                                           Bits{"int_symmetric", 8, 3}),
                         [](const auto& test) {
                           return test_name(::testing::PrintToString(test.param));
                         });

TEST(CodedProduct, DecodedPanelsEqualPanelsOfDecodedValues) {
  if (!product_available()) GTEST_SKIP();
  at::manual_seed(2);
  for (const int64_t rows : {1, 63, 64, 65, 200})
    for (const int bits : {4, 8}) {
      const Quantizer q{mse_grid("half_int", bits, 0, ScaleType::f32, 128), {}};
      KeptActivation kept;
      const at::Tensor decoded =
          quantize_activation(q, at::randn({rows, 192}).to(at::kBFloat16).repeat({1, 2}), {}, kept);
      EXPECT_TRUE(at::equal(decoded_panels(coded(q, kept)), panels_of(decoded))) << rows;
    }
}

TEST(CodedProduct, WhereOneSideHasNoCodesOfAWholeRowValuesAreMultiplied) {
  const at::Tensor like = at::empty({128, 256});
  const CodeFormat row = mse_grid("half_int", 4, 0, ScaleType::f32, 128).format;
  CodeFormat grouped = row, masked = row;
  grouped.group = 32;
  masked.pattern = "2:4";
  EXPECT_EQ(codes_multiply(row, row, like, at::kBFloat16), product_available());
  EXPECT_FALSE(codes_multiply(grouped, row, like, at::kBFloat16));
  EXPECT_FALSE(codes_multiply(masked, row, like, at::kBFloat16));
  CodeFormat tensor = row;
  tensor.group = -1;
  EXPECT_EQ(codes_multiply(tensor, row, like, at::kBFloat16), product_available());
  EXPECT_FALSE(codes_multiply(row, tensor, like, at::kBFloat16));
  EXPECT_FALSE(codes_multiply(row, row, like, at::kFloat));
  EXPECT_FALSE(codes_multiply(row, row, at::empty({128, 96}), at::kBFloat16));
  EXPECT_FALSE(codes_multiply(row, row, at::empty({100, 256}), at::kBFloat16));
}

TEST(CodedProduct, ATokenThatIsNotANumberShows) {
  if (!product_available()) GTEST_SKIP();
  const at::Tensor w = at::randn({64, 128}), x = at::randn({3, 128}).to(at::kBFloat16);
  x[1][5] = std::numeric_limits<float>::quiet_NaN();
  QuantizedLinear layer("l", w, options({"half_int", 4, 4}), at::kBFloat16);
  layer.refresh();
  const at::Tensor nan = layer.forward(x).isnan();
  EXPECT_FALSE(nan[0].any().item<bool>());
  EXPECT_TRUE(nan[1].all().item<bool>());
  EXPECT_FALSE(nan[2].any().item<bool>());
}

}  // namespace
}  // namespace terse
