// The fused operations against compositions of ATen operations.
#include "tests/trainer/model/compare.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>

#include "trainer/model/ops/add_norm.h"
#include "trainer/model/ops/attention.h"
#include "trainer/model/ops/cross_entropy.h"
#include "trainer/model/ops/embedding.h"
#include "trainer/model/ops/rotary.h"
#include "trainer/model/ops/swiglu.h"

namespace terse::test {
namespace {

class Ops : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override { at::manual_seed(7); }
  at::Tensor random(at::IntArrayRef shape, double scale = 1.0) {
    return random_tensor(shape, GetParam(), scale);
  }
  void expect_like(const Operation& fused, const Operation& composed, const Tensors& inputs) {
    expect_close(outputs_and_gradients(fused, inputs), outputs_and_gradients(composed, inputs),
                 tolerance(GetParam()), 0.0);
  }
};
INSTANTIATE_TEST_SUITE_P(Types, Ops, testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& type) {
                           return type.param == at::kFloat ? "Float" : "Bfloat16";
                         });

// Widths below, at and beside multiples of the 16 lanes; rows beside multiples of the block of 64.
const std::vector<std::pair<int64_t, int64_t>> kShapes{{1, 1}, {3, 5}, {65, 16}, {130, 100}};

TEST_P(Ops, AddNorm) {
  const at::ScalarType type = GetParam();
  const Operation fused = [type](const Tensors& in) -> Tensors {
    const AddNorm out = add_norm(in[0], in[1], in[2], 1e-5, type);
    return {out.sum, out.y};
  };
  const Operation composed = [type](const Tensors& in) -> Tensors {
    const AddNorm out = composed_add_norm(in[0], in[1], in[2], 1e-5, type);
    return {out.sum, out.y};
  };
  for (auto [rows, width] : kShapes) {
    const Tensors in{random_tensor({rows, width}, at::kFloat), random({rows, width}),
                     random_tensor({width}, at::kFloat)};
    expect_like(fused, composed, in);
    expect_reproducible(fused, in);
  }
}

TEST_P(Ops, AddNormWithoutDeltaOrWithoutSum) {
  const at::ScalarType type = GetParam();
  const Tensors in{random_tensor({9, 40}, at::kFloat), random_tensor({40}, at::kFloat)};
  expect_like(
      [type](const Tensors& t) -> Tensors {
        return {add_norm(t[0], std::nullopt, t[1], 1e-5, type).y};
      },
      [type](const Tensors& t) -> Tensors {
        return {composed_add_norm(t[0], std::nullopt, t[1], 1e-5, type).y};
      },
      in);
  const Tensors with_delta{in[0], random({9, 40}), in[1]};
  expect_like(
      [type](const Tensors& t) -> Tensors { return {add_norm(t[0], t[1], t[2], 1e-5, type).y}; },
      [type](const Tensors& t) -> Tensors {
        return {composed_add_norm(t[0], t[1], t[2], 1e-5, type).y};
      },
      with_delta);
}

TEST_P(Ops, RotarySplit) {
  for (auto [heads, kv, head] : {std::array<int64_t, 3>{4, 4, 16}, {6, 2, 10}, {1, 1, 64}}) {
    const RotaryTable table = rotary_table(21, head, 10000.0, at::kCPU);
    const auto operation = [&](auto* split, int64_t h, int64_t k) -> Operation {
      return [split, &table, h, k](const Tensors& in) -> Tensors {
        const Heads out = split(in[0], table, h, k);
        return {out.q, out.k, out.v};
      };
    };
    const Tensors in{random({2, 17, (heads + 2 * kv) * head})};
    expect_like(operation(&rotary_split, heads, kv), operation(&composed_rotary_split, heads, kv),
                in);
    expect_reproducible(operation(&rotary_split, heads, kv), in);
  }
}

TEST_P(Ops, Attention) {
  for (bool causal : {true, false})
    for (auto [heads, kv, length] : {std::array<int64_t, 3>{4, 4, 1}, {6, 2, 19}, {2, 1, 64}}) {
      const Tensors in{random({2, heads, length, 8}), random({2, kv, length, 8}),
                       random({2, kv, length, 8})};
      expect_like(
          [causal = causal](const Tensors& t) -> Tensors {
            return {attention({t[0], t[1], t[2]}, causal)};
          },
          [causal = causal](const Tensors& t) -> Tensors {
            return {composed_attention({t[0], t[1], t[2]}, causal)};
          },
          in);
    }
}

// Integer-valued scores and values of a head size whose scale is a power of two keep every matrix
// product exact, so that only the softmax between them is compared.
TEST_P(Ops, AttentionIsReproducible) {
  const auto integers = [&](at::IntArrayRef shape) {
    return at::randint(-2, 3, shape, at::kFloat).to(GetParam());
  };
  const Tensors in{integers({1, 2, 33, 16}), integers({1, 1, 33, 16}), integers({1, 1, 33, 16})};
  const auto threads = at::get_num_threads();
  at::set_num_threads(1);
  const at::Tensor reference = attention({in[0], in[1], in[2]}, true);
  const Isa best = isa();
  for (Isa candidate : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(candidate)) continue;
    force_isa(candidate);
    expect_same_bits({attention({in[0], in[1], in[2]}, true)}, {reference});
  }
  force_isa(best);
  at::set_num_threads(threads);
}

TEST_P(Ops, FutureKeysDoNotReachAQuery) {
  const at::Tensor q = random({1, 2, 12, 8}), k = random({1, 2, 12, 8}), v = random({1, 2, 12, 8});
  const at::Tensor before = attention({q, k, v}, true);
  k.narrow(2, 8, 4).fill_(50.0);
  v.narrow(2, 8, 4).fill_(-50.0);
  const at::Tensor after = attention({q, k, v}, true);
  expect_same_bits({after.narrow(1, 0, 8)}, {before.narrow(1, 0, 8)});
  EXPECT_FALSE(at::equal(after.narrow(1, 8, 4), before.narrow(1, 8, 4)));
}

TEST_P(Ops, SwiGlu) {
  const Operation fused = [](const Tensors& in) -> Tensors { return {swiglu(in[0])}; };
  const Operation composed = [](const Tensors& in) -> Tensors { return {composed_swiglu(in[0])}; };
  for (auto [rows, hidden] : kShapes) {
    const Tensors in{random({rows, 2 * hidden}, 3.0)};
    expect_like(fused, composed, in);
    expect_reproducible(fused, in);
  }
}

// Widths that run in the instructions of base/product.h, where there are any.
TEST_P(Ops, SwiGluOfWholeVectors) {
  const Operation fused = [](const Tensors& in) -> Tensors { return {swiglu(in[0])}; };
  const Operation composed = [](const Tensors& in) -> Tensors { return {composed_swiglu(in[0])}; };
  for (auto [rows, hidden] : {std::pair<int64_t, int64_t>{1, 32}, {130, 96}, {600, 64}}) {
    const Tensors in{random({rows, 2 * hidden}, 3.0)};
    expect_like(fused, composed, in);
    at::set_num_threads(1);
    const Tensors alone = outputs_and_gradients(fused, in);
    at::set_num_threads(2);
    expect_same_bits(outputs_and_gradients(fused, in), alone);
  }
  // Far out the sigmoid is 0 or 1; no infinity of its own.
  const at::Tensor far = at::full({1, 64}, 200.0, GetParam());
  far.narrow(1, 0, 16).neg_();
  const at::Tensor y = swiglu(far);
  EXPECT_LT(y[0][3].abs().item<float>(), 1e-30f);  // 200 exp(-200) is below fp32, exp(-87) is not
  EXPECT_EQ(y[0][20].item<float>(), composed_swiglu(far)[0][20].item<float>());
}

TEST_P(Ops, CrossEntropy) {
  for (auto [rows, vocab] : {std::pair<int64_t, int64_t>{1, 1}, {7, 37}, {130, 512}}) {
    const at::Tensor targets = at::randint(vocab, {rows}, at::kLong);
    const Operation fused = [&](const Tensors& in) -> Tensors {
      return {cross_entropy(in[0], targets)};
    };
    const Operation composed = [&](const Tensors& in) -> Tensors {
      return {composed_cross_entropy(in[0], targets)};
    };
    const Tensors in{random({rows, vocab}, 4.0)};
    expect_like(fused, composed, in);
    // Whole vectors of bf16 run in instructions that not every set has (ops/cross_entropy_bf16.h).
    if (vocab % 32 != 0 || GetParam() == at::kFloat) expect_reproducible(fused, in);
    expect_close({cross_entropy_each(in[0], targets).mean()},
                 {composed_cross_entropy(in[0], targets)}, 1e-6, 1e-9);
  }
}

TEST_P(Ops, CrossEntropyOfExtremeLogits) {
  at::Tensor logits = at::zeros({2, 20}, GetParam());
  logits[0][3] = 1e4;   // certain and right
  logits[1][3] = -1e4;  // certain and wrong
  const at::Tensor loss = cross_entropy_each(logits, at::full({2}, 3, at::kLong));
  EXPECT_EQ(loss[0].item<float>(), 0.0f);
  EXPECT_NEAR(loss[1].item<float>(), logits[0][3].item<float>() + std::log(19.0f), 1.0f);
}

// A NaN must never be hidden: the vote that skips a step looks for it in gradients.
TEST_P(Ops, NanReachesEveryGradient) {
  const at::Tensor nan = at::full({1, 32}, std::numeric_limits<float>::quiet_NaN(), GetParam());
  const auto all_nan = [](const at::Tensor& t) { return at::isnan(t).all().item<bool>(); };
  EXPECT_TRUE(all_nan(swiglu(nan)));
  EXPECT_TRUE(all_nan(swiglu(nan.repeat({1, 2}))));
  EXPECT_TRUE(all_nan(cross_entropy_each(nan, at::zeros({1}, at::kLong))));
  const at::Tensor x = at::zeros({1, 32}, at::kFloat);
  EXPECT_TRUE(all_nan(add_norm(x, nan, at::ones({32}), 1e-5, GetParam()).y));
  const at::Tensor head = nan.view({1, 1, 2, 16});
  EXPECT_TRUE(all_nan(attention({head, head, head}, true)));
}

TEST(Embedding, GathersAndAddsInOrder) {
  at::manual_seed(3);
  const at::Tensor tokens = at::randint(11, {4, 50}, at::kLong);
  for (bool round : {false, true}) {
    const Operation fused = [&](const Tensors& in) -> Tensors {
      return {terse::embedding(in[0], tokens, round)};
    };
    const Operation composed = [&](const Tensors& in) -> Tensors {
      return {composed_embedding(in[0], tokens, round)};
    };
    for (int64_t width : {1, 70, 256}) {
      const Tensors in{at::randn({11, width}, at::kFloat)};
      const Tensors a = outputs_and_gradients(fused, in), b = outputs_and_gradients(composed, in);
      expect_same_bits({a[0]}, {b[0]});
      // ATen casts the gradient to bf16 on its way through the rounding; terse does not.
      expect_close({a[1]}, {b[1]}, round ? kBfloatTolerance : kFloatTolerance, 0.0);
      expect_reproducible(fused, in);
    }
  }
}

TEST(Embedding, AddsIntoAGradientThatIsThere) {
  const at::Tensor tokens = at::tensor({1, 3, 1}, at::kLong), dy = at::randn({3, 64});
  const at::Tensor fresh = at::randn({5, 64}).requires_grad_();
  terse::embedding(fresh, tokens).backward(dy);
  const at::Tensor table = fresh.detach().clone().requires_grad_(), home = at::ones({5, 64});
  table.mutable_grad() = home;
  terse::embedding(table, tokens).backward(dy);
  EXPECT_TRUE(table.grad().is_same(home));
  expect_close({home}, {fresh.grad() + 1.0}, kFloatTolerance, 0.0);
}
TEST(Embedding, RefusesATokenOutsideTheTable) {
  const at::Tensor table = at::zeros({5, 4});
  EXPECT_THROW(terse::embedding(table, at::full({1}, 5, at::kLong)), std::logic_error);
  EXPECT_THROW(terse::embedding(table, at::full({1}, -1, at::kLong)), std::logic_error);
}

}  // namespace
}  // namespace terse::test
