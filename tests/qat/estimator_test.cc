// The masks of each estimator against its formula, and the gradient through rotation and mask
// against LibTorch's autograd of z M + (zq - z M).detach(), in fp64 arithmetic on the fp32 values.
#include "qat/estimator.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "qat/input_format.h"
#include "qat/representation.h"
#include "qat/tensors.h"

namespace terse {
namespace {

struct Quantized {
  at::Tensor codes, scales, mask, decoded;
  double tensor_scale = 1;
};

Quantized quantized(const Quantizer& q, const at::Tensor& x) {
  const CodeFormat& format = q.grid.format;
  const int64_t scale_rows = format.group < 0 ? 1 : x.size(0);
  Quantized r{at::empty(x.sizes(), at::kChar),
              at::empty({scale_rows, groups_of(format, x.size(1))}),
              at::empty({x.size(0), mask_stride(x.size(1))}, at::kByte), at::empty(x.sizes())};
  r.tensor_scale = quantize_tensor(q, x, {r.codes, r.scales, r.mask, r.decoded});
  return r;
}

at::Tensor unpacked(const at::Tensor& mask, int64_t columns) {
  at::Tensor out = at::empty({mask.size(0), columns}, at::kDouble);
  for (int64_t r = 0; r < mask.size(0); ++r)
    for (int64_t c = 0; c < columns; ++c) out[r][c] = mask[r][c / 8].item<int>() >> (c % 8) & 1;
  return out;
}

at::Tensor formula(const Quantizer& q, const at::Tensor& z, const Quantized& r) {
  const CodeFormat& f = q.grid.format;
  const int64_t group = f.group <= 0 ? z.size(1) : f.group;
  const at::Tensor step =
      r.scales.abs().repeat_interleave(group, 1).to(at::kDouble) * (r.tensor_scale * f.unit);
  const double gap = f.grid == "fp4" ? 4 : 1;  // 6 is 4 doubled codes from 4
  const double offset = f.offset;
  const double further = q.grid.dynamic ? gap / 2 : 0;
  const double reach = std::max(-(f.code_min + offset), f.code_max + offset) + further;
  const at::Tensor z64 = z.to(at::kDouble);
  switch (q.estimator.kind) {
    case Estimator::Kind::straight_through:
      return at::ones_like(z64);
    case Estimator::Kind::clip:
      return (z64.abs() <= step * (q.estimator.strength * reach)).to(at::kDouble);
    case Estimator::Kind::trust:
      return ((r.decoded.to(at::kDouble) - z64).abs() <=
              step * (q.estimator.strength * gap * 0.5 * (1 + 1e-6)))
          .to(at::kDouble);
    case Estimator::Kind::lsq: {
      const at::Tensor level =
          z64 / (r.scales.repeat_interleave(group, 1).to(at::kDouble) * (r.tensor_scale * f.unit)) -
          offset;
      return ((level >= f.code_min) * (level <= f.code_max)).to(at::kDouble);
    }
  }
  return {};
}

std::vector<Quantizer> quantizers() {
  std::vector<Quantizer> all;
  for (const char* estimator :
       {"straight_through", "clip(1)", "clip(0.7)", "trust(1)", "trust(0.6)", "lsq"})
    for (const Grid& grid :
         {mse_grid("half_int", 4, 0, ScaleType::f32, 0),
          mse_grid("half_int", 1, 0, ScaleType::f16, 0),
          mse_grid("int_signed", 3, 32, ScaleType::bf16, 0), q4_0_grid(), q8_0_grid(),
          mse_grid("fp4", 4, 0, ScaleType::f32, 0),
          with_rule(mse_grid("fp4", 4, 32, ScaleType::e8m0, 0), ScaleRule::mx_floor),
          with_rule(mse_grid("fp4", 4, 16, ScaleType::e4m3, 0), ScaleRule::absmax),
          input_grid(nvfp4_input(8), 0), input_grid(mxfp4_input(), 0),
          with_rule(mse_grid("ternary", 2, -1, ScaleType::f32, 0), ScaleRule::absmean)}) {
      // Steps are learned on evenly spaced codes, from the scale as stored.
      if (std::string(estimator) == "lsq" && (grid.ggml || grid.format.grid == "fp4")) continue;
      all.push_back({grid, parse_estimator(estimator, 4)});
    }
  return all;
}

TEST(Estimator, MaskFollowsItsFormula) {
  at::manual_seed(21);
  const at::Tensor x = at::randn({6, 64});
  for (const Quantizer& q : quantizers()) {
    const Quantized r = quantized(q, x);
    const at::Tensor differs = unpacked(r.mask, 64) != formula(q, x, r);
    // fp32 evaluates the threshold to 1e-7: no element of these 384 lies so near it.
    EXPECT_EQ(differs.sum().item<int64_t>(), 0)
        << to_string(q.grid.format) << " " << to_string(q.estimator);
  }
}

TEST(Estimator, GradientEqualsAutogradOfTheExpression) {
  at::manual_seed(22);
  for (Quantizer q : quantizers()) {
    for (const int64_t block : {int64_t{0}, int64_t{64}}) {
      q.grid.format.hadamard = block;
      const at::Tensor w = at::randn({5, 128});
      const at::Tensor d = at::randn({5, 128});
      const auto representation = make_uniform("w", q);
      representation->encode(w, {});
      const at::Tensor ours = representation->backward(d).weight;

      at::Tensor h = at::ones({1, 1}, at::kDouble);
      while (h.size(0) < std::max<int64_t>(block, 1))
        h = at::cat({at::cat({h, h}, 1), at::cat({h, -h}, 1)}, 0);
      h = h / std::sqrt(static_cast<double>(h.size(0)));
      const at::Tensor leaf = w.to(at::kDouble).requires_grad_();
      const at::Tensor z = leaf.reshape({-1, h.size(0)}).matmul(h).reshape({5, 128});
      const Quantized r = quantized(q, w);
      const at::Tensor mask = unpacked(r.mask, 128);
      const at::Tensor out = z * mask + (r.decoded.to(at::kDouble) - z * mask).detach();
      out.backward(d.to(at::kDouble));
      // Without rotation a choice between d and 0; with it six levels of fp32 sums of values up
      // to 4.
      EXPECT_TRUE(at::allclose(ours.to(at::kDouble), leaf.grad(), 0, block == 0 ? 0 : 4e-6));
    }
  }
}

TEST(Uniform, DecodeEqualsCodesAndWhatEncodeWrote) {
  at::manual_seed(23);
  const at::Tensor w = at::randn({7, 96});
  for (Quantizer q : quantizers()) {
    q.grid.format.hadamard = 32;
    const auto representation = make_uniform("w", q);
    at::Tensor written = at::empty({7, 96});
    representation->encode(w, written);
    const Codes codes = representation->codes();
    at::Tensor decoded = at::empty({7, 96});
    codes.decode(decoded.data_ptr<float>());
    EXPECT_TRUE(at::equal(decoded, written));
    EXPECT_TRUE(at::equal(decoded, representation->decode()));

    const auto other = make_uniform("w", q);
    at::Tensor adopted = at::empty({7, 96});
    other->adopt(codes, adopted);
    EXPECT_TRUE(at::equal(adopted, written));
  }
}

TEST(Uniform, ThreadsDoNotChangeBits) {
  at::manual_seed(24);
  const at::Tensor x = at::randn({300, 256}).to(at::kBFloat16);
  const Quantizer q{mse_grid("half_int", 4, 0, ScaleType::f32, 128), {}};
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const Quantized one = quantized(q, x);
  at::set_num_threads(3);
  const Quantized three = quantized(q, x);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one.codes, three.codes));
  EXPECT_TRUE(at::equal(one.scales, three.scales));
  EXPECT_TRUE(at::equal(one.mask, three.mask));
  EXPECT_TRUE(at::equal(one.decoded, three.decoded));
}

}  // namespace
}  // namespace terse
