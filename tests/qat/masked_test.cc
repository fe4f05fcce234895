// Layers behind a mask against the formulas of qat/masked.h and sparsity/flow.h, in ATen.
#include "qat/masked.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <tuple>

#include "base/error.h"
#include "qat/quantized_linear.h"
#include "qat/tensors.h"

namespace terse {
namespace {

constexpr int64_t kSteps = 100;

SparsityRun sparse(const std::string& pattern, const std::string& schedule = "constant",
                   const std::string& estimator = "straight_through") {
  SparsityRun run;
  run.options.pattern = pattern;
  run.options.schedule = schedule;
  run.options.estimator = estimator;
  run.options.beta_end = 0.0;
  run.options.fine = 0;
  run.options.lambda = 0.25;
  run.steps = kSteps;
  return run;
}

QatOptions quest(int64_t hadamard) {
  QatOptions o;
  o.target = "none";
  o.weight_bits = 4;
  o.grid = "half_int";
  o.hadamard = hadamard;
  return o;
}

at::Tensor leaf(int64_t rows, int64_t columns) {
  return at::randn({rows, columns}).mul_(0.05).requires_grad_();
}

// 1 where the weight is among the `keep` largest of its `of`: by a stable sort.
at::Tensor mask_of(const at::Tensor& z, int64_t keep, int64_t of) {
  const at::Tensor groups = z.detach().abs().reshape({-1, of});
  const at::Tensor order = groups.argsort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
  return at::zeros_like(groups).scatter_(1, order.slice(1, 0, keep), 1.0).reshape(z.sizes());
}

struct Pass {
  at::Tensor y, dw;
};

// Forward and backward of a layer, twice: gradients of micro-batches add up.
Pass twice(QuantizedLinear& layer, const at::Tensor& weight, const at::Tensor& x,
           const at::Tensor& dy) {
  const at::Tensor y = layer.forward(x);
  y.backward(dy);
  layer.forward(x).backward(dy);
  return {y.detach(), weight.grad()};
}

class Flow : public ::testing::TestWithParam<std::tuple<const char*, int64_t, at::ScalarType>> {};

TEST_P(Flow, ForwardAndGradientAreTheFormulas) {
  at::manual_seed(1);
  const auto [estimator, taken, compute] = GetParam();
  const double beta = 1.0 - static_cast<double>(taken) / kSteps;
  const at::Tensor w = leaf(24, 64);
  QuantizedLinear layer("a", w, {}, compute, sparse("2:4", "mask_linear", estimator));
  EXPECT_TRUE(layer.masked());
  EXPECT_FALSE(layer.quantized());
  layer.refresh(taken);
  const at::Tensor x = at::randn({10, 64}).to(compute), dy = at::randn({10, 24}).to(compute);
  const Pass pass = twice(layer, w, x, dy);

  const at::Tensor m = mask_of(w, 2, 4);
  const at::Tensor seen = w.detach() * (m + (1 - m) * static_cast<float>(beta));
  EXPECT_TRUE(at::equal(layer.effective_weight(), seen.to(compute).to(at::kFloat)));
  const at::Tensor g = 2 * dy.to(at::kFloat).t().mm(x.to(at::kFloat));
  const std::string name = estimator;
  const at::Tensor expected = name == "hard"    ? m * g
                              : name == "srste" ? g + 0.25 * (1 - m) * w.detach()
                                                : g;
  // One rounding of the product to the compute type each time, 2^-9 in bf16.
  const double tolerance = compute == at::kFloat ? 1e-5 : 1e-2;
  EXPECT_TRUE(at::allclose(pass.dw, expected, tolerance, tolerance));
  EXPECT_TRUE(at::allclose(pass.y.to(at::kFloat), x.to(at::kFloat).mm(seen.t()), tolerance, 1e-2));
  EXPECT_EQ((pass.dw * (1 - m)).abs().sum().item<double>() > 0, name != "hard");

  const at::Tensor before = w.detach().clone();
  layer.after_step(0.5);
  const at::Tensor shrunk = before - 0.5f * 0.25f * (1 - m) * before;
  EXPECT_TRUE(at::allclose(w.detach(), name == "srste_decoupled" ? shrunk : before, 1e-6, 1e-9));
}

std::string flow_name(const ::testing::TestParamInfo<Flow::ParamType>& test) {
  const auto& [estimator, taken, compute] = test.param;
  return fmt::format("{}_{}_{}", estimator, taken, at::toString(compute));
}

INSTANTIATE_TEST_SUITE_P(
    All, Flow,
    ::testing::Combine(::testing::Values("straight_through", "hard", "srste", "srste_decoupled"),
                       ::testing::Values(int64_t{0}, int64_t{70}, int64_t{100}),
                       ::testing::Values(at::kFloat, at::kBFloat16)),
    flow_name);

// lambda (1 - m) w joins once a step, whether the product is added to .grad or handed to autograd.
TEST(Masked, PullComesOncePerStepAlsoIntoAGradientThatIsThere) {
  at::manual_seed(2);
  const at::Tensor w = leaf(16, 32);
  w.mutable_grad() = at::zeros({16, 32});
  QuantizedLinear layer("a", w, {}, at::kBFloat16, sparse("1:8", "constant", "srste"));
  const at::Tensor x = at::zeros({4, 32}, at::kBFloat16), dy = at::ones({4, 16}, at::kBFloat16);
  const at::Tensor pull = 0.25 * (1 - mask_of(w, 1, 8)) * w.detach();
  layer.refresh(0);
  twice(layer, w, x, dy);
  EXPECT_TRUE(at::allclose(w.grad(), pull));
  layer.refresh(1);
  twice(layer, w, x, dy);
  EXPECT_TRUE(at::allclose(w.grad(), 2 * pull));
}

TEST(Masked, DenseStageIsThePlainLayer) {
  at::manual_seed(3);
  SparsityRun run = sparse("2:4", "structure_stepwise");
  run.options.dense = 10;
  for (const QatOptions& qat : {QatOptions(), quest(128)}) {
    const at::Tensor w = leaf(24, 128), same = w.detach().clone().requires_grad_();
    QuantizedLinear masked("a", w, qat, at::kBFloat16, run), plain("a", same, qat, at::kBFloat16);
    masked.refresh(9);
    plain.refresh();
    EXPECT_FALSE(masked.mask());
    const at::Tensor x = at::randn({10, 128}).to(at::kBFloat16);
    const at::Tensor dy = at::randn({10, 24}).to(at::kBFloat16);
    const Pass a = twice(masked, w, x, dy), b = twice(plain, same, x, dy);
    EXPECT_TRUE(at::equal(a.y, b.y));
    EXPECT_TRUE(at::equal(a.dw, b.dw));
    masked.refresh(10);
    ASSERT_TRUE(masked.mask());
    EXPECT_EQ(to_string(masked.mask()->pattern), "3:4");
    masked.refresh();
    EXPECT_EQ(to_string(masked.mask()->pattern), "2:4");
  }
}

at::Tensor rotated(const at::Tensor& x, int64_t block) {
  at::Tensor out = at::empty_like(x);
  rotate_tensor(x.contiguous(), {}, block, out);
  return out;
}

// QuEST and N:M together: the mask lives in the rotated space, scales are the dense weight's, and
// the gradient reaches all trusted weights.
TEST(Joint, ForwardAndGradientAreTheFormulas) {
  at::manual_seed(4);
  const at::Tensor w = leaf(48, 256), same = w.detach().clone().requires_grad_();
  QuantizedLinear dense("a", same, quest(128), at::kFloat);
  dense.refresh();
  const at::Tensor zq = dense.effective_weight(), z = rotated(w.detach(), 128);
  const at::Tensor m = mask_of(z, 1, 4);
  const at::Tensor x = at::randn({20, 256}), dy = at::randn({20, 48});
  const at::Tensor trusted_flow = twice(dense, same, x, dy).dw;
  for (const char* estimator : {"straight_through", "hard", "srste"}) {
    w.mutable_grad() = at::Tensor();
    QuantizedLinear joint("a", w, quest(128), at::kFloat, sparse("1:4", "mask_linear", estimator));
    EXPECT_TRUE(joint.quantized());
    joint.refresh(70);
    const Pass pass = twice(joint, w, x, dy);
    const at::Tensor seen = zq * (m + (1 - m) * 0.3f);
    EXPECT_TRUE(at::allclose(pass.y, rotated(x, 128).mm(seen.t()), 1e-4, 1e-4));
    const std::string name = estimator;
    // dW of the dense layer is rotate(trust .* g); rotating it again gives trust .* g.
    const at::Tensor expected = name == "hard"    ? rotated(rotated(trusted_flow, 128) * m, 128)
                                : name == "srste" ? trusted_flow + rotated(0.25 * (1 - m) * z, 128)
                                                  : trusted_flow;
    EXPECT_TRUE(at::allclose(pass.dw, expected, 1e-4, 1e-4)) << estimator;
  }
}

// What was trained is what is served: one set of stored pieces behind forward, codes() and
// decode().
TEST(Joint, CodesCarryTheMask) {
  at::manual_seed(5);
  for (const QatOptions& qat : {quest(128), quest(0), [] {
                                  QatOptions o;
                                  o.target = "gguf:q4_0";
                                  return o;
                                }()}) {
    const at::Tensor w = leaf(32, 128);
    QuantizedLinear layer("a", w, qat, at::kFloat, sparse("2:8", "mask_exponential"));
    layer.refresh();
    const Codes codes = layer.codes();
    codes.validate("a");
    EXPECT_EQ(codes.format.pattern, "2:8");
    EXPECT_EQ(count_kept(codes.mask.data(), 32, 128), 32 * 128 / 4);
    EXPECT_EQ(parse_code_format(to_string(codes.format)), codes.format);
    at::Tensor decoded = at::empty({32, 128});
    codes.decode(decoded.data_ptr<float>());
    EXPECT_TRUE(at::equal(decoded, layer.effective_weight()));
    EXPECT_LE((decoded != 0).sum().item<int64_t>(), 32 * 128 / 4);
    // Packed projections are cut by rows.
    const Codes part = codes.row_slice(8, 20);
    part.validate("part");
    at::Tensor some = at::empty({12, 128});
    part.decode(some.data_ptr<float>());
    EXPECT_TRUE(at::equal(some, decoded.slice(0, 8, 20)));

    const at::Tensor x = at::randn({4, 128});
    const at::Tensor y = layer.forward(x).detach();
    const at::Tensor other = leaf(32, 128);
    QuantizedLinear same_kind("a", other, qat, at::kFloat), from_file("a", other, {}, at::kFloat);
    for (QuantizedLinear* reader : {&same_kind, &from_file}) {
      reader->use_codes(codes);
      EXPECT_TRUE(at::equal(reader->forward(x), y));
      const Codes again = reader->codes();
      EXPECT_TRUE(again.codes == codes.codes && again.mask == codes.mask &&
                  again.format == codes.format);
    }
  }
}

TEST(Joint, CodesBehindTheMaskMustBeZero) {
  at::manual_seed(6);
  QuantizedLinear layer("a", leaf(4, 32), quest(0), at::kFloat, sparse("2:4"));
  layer.refresh();
  Codes codes = layer.codes();
  codes.mask[0] = static_cast<uint8_t>(~codes.mask[0]);
  EXPECT_THROW(codes.validate("a"), Error);
  codes = layer.codes();
  codes.mask.pop_back();
  EXPECT_THROW(codes.validate("a"), Error);
  QuantizedLinear plain("a", leaf(4, 32), quest(0), at::kFloat);
  plain.refresh();
  EXPECT_THROW(layer.use_codes(plain.codes()), Error);
}

TEST(Masked, NaNNamesTheLayer) {
  for (const char* pattern : {"2:4", "unstructured:0.5"}) {
    at::Tensor w = at::randn({4, 32});
    w[1][5] = std::numeric_limits<float>::quiet_NaN();
    QuantizedLinear layer("layer.7", w.requires_grad_(), {}, at::kBFloat16, sparse(pattern));
    try {
      layer.refresh(0);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::non_finite);
      EXPECT_NE(std::string(error.what()).find("layer.7"), std::string::npos);
    }
  }
}

TEST(Masked, PatternsChooseLayers) {
  SparsityRun run = sparse("2:4");
  run.options.targets = {"*.mlp.*"};
  run.options.ignore = {"*down_proj"};
  const at::Tensor w = leaf(8, 32);
  EXPECT_TRUE(QuantizedLinear("a.mlp.up_proj", w, {}, at::kFloat, run).masked());
  EXPECT_FALSE(QuantizedLinear("a.mlp.down_proj", w, {}, at::kFloat, run).masked());
  EXPECT_FALSE(QuantizedLinear("a.self_attn.o_proj", w, {}, at::kFloat, run).masked());
  EXPECT_THROW(QuantizedLinear("a.mlp.up_proj", leaf(8, 30), {}, at::kFloat, run), Error);
}

}  // namespace
}  // namespace terse
