// AdamW against LibTorch's own torch::optim::AdamW, and its kernels against each other.
#include "optim/adamw.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

#include <cmath>
#include <cstring>

#include "base/isa.h"
#include "tests/optim/flat.h"
#include "tests/optim/torch_oracle.h"

namespace terse {
namespace {

const std::vector<SegmentSpec> kSegments = {
    {"a", 37, 53, true}, {"norm", 1, 61, false}, {"b", 300, 100, true}, {"c", 1, 5, false}};

TEST(AdamW, EqualsTorch) {
  at::manual_seed(1);
  const AdamOptions o{.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.1};
  Flat flat(kSegments, std::make_shared<AdamW>(o));
  const auto options = [](double decay) {
    return torch::optim::AdamWOptions(1e-2).betas({0.9, 0.95}).weight_decay(decay);
  };
  // LibTorch rounds b1 m + (1 - b1) g where torch (and we) round m + (1 - b1)(g - m): an ulp of m a
  // step, far below 1e-6 of weights near 1 moved by 0.01 thirty times.
  expect_equals_torch<torch::optim::AdamW>(flat, options, 0.1, 1e-6, 1e-7);
}

TEST(AdamW, SkippedStepsDoNotMoveTheBiasCorrection) {
  const AdamOptions o{};
  Flat flat(kSegments, std::make_shared<AdamW>(o));
  flat.fill_gradient(0.5);
  const at::Tensor before = flat.bucket_value().clone();
  flat.step(7, 1e-3);  // first committed step, whatever its number
  const at::Tensor moved = before * (1 - 1e-3 * 0.1) - flat.bucket_value();
  // g / (|g| + eps) = 1 at the first update, so the step is lr.
  EXPECT_NEAR(moved[0].item<float>(), 1e-3f, 1e-7f);
}

// STEP's second phase in fp64: after update 6 the root stays what it was, m moves on.
TEST(AdamW, VarianceStaysAfterItsSteps) {
  at::manual_seed(3);
  AdamOptions o{.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.0};
  o.variance_steps = 6;
  Flat flat({{"a", 11, 7, true}}, std::make_shared<AdamW>(o));
  at::Tensor p = flat.bucket_value().to(at::kDouble), m = at::zeros_like(p), v = at::zeros_like(p);
  at::Tensor root;
  for (int64_t t = 1; t <= 20; ++t) {
    const at::Tensor g = at::randn_like(flat.bucket_gradient()) * (t <= 6 ? 0.1 : 10.0);
    flat.bucket_gradient().copy_(g);
    m = 0.9 * m + 0.1 * g;
    if (t <= 6) {
      v = 0.95 * v + 0.05 * g.to(at::kDouble).square();
      root = (v / (1 - std::pow(0.95, t))).sqrt() + 1e-8;
    }
    p = p - 1e-3 * (m / (1 - std::pow(0.9, t))) / root;
    flat.step(t, 1e-3);
  }
  // Without the freeze v would be ten thousand times as large. fp32 against fp64 over 20 updates.
  EXPECT_TRUE(at::allclose(flat.bucket_value().to(at::kDouble), p, 1e-5, 1e-5));
}

TEST(AdamW, FirstGradientIsUsed) {
  Flat flat(kSegments, std::make_shared<AdamW>(AdamOptions{}));
  const at::Tensor before = flat.bucket_value().clone();
  flat.fill_gradient(1);
  flat.step(1, 1e-3);
  EXPECT_FALSE(at::equal(before, flat.bucket_value()));
}

// No fused multiply-add, correctly rounded roots and quotients: one result for all.
TEST(AdamW, AllInstructionSetsGiveTheSameBits) {
  at::manual_seed(2);
  const int64_t n = 1037;
  const at::Tensor p = at::randn({n}), g = at::randn({n}), m = at::randn({n});
  const at::Tensor v = at::rand({n});
  at::Tensor expected;
  const Isa best = isa();
  for (Isa set : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (!isa_supported(set)) continue;
    force_isa(set);
    at::Tensor p1 = p.clone(), m1 = m.clone(), v1 = v.clone();
    at::Tensor r1 = at::empty({n}, at::kBFloat16);
    const AdamStep step{0.7f, 0.1f, 0.95f, 0.05f, 0.999f, 1e-3f, 0.3f, 1e-8f};
    TERSE_DISPATCH(adamw(step, p1.mutable_data_ptr<float>(), m1.mutable_data_ptr<float>(),
                         v1.mutable_data_ptr<float>(), g.const_data_ptr<float>(),
                         static_cast<uint16_t*>(r1.data_ptr()), n));
    EXPECT_TRUE(at::equal(r1, p1.to(at::kBFloat16)));
    const at::Tensor all = at::cat({p1, m1, v1});
    if (!expected.defined()) expected = all;
    EXPECT_TRUE(at::equal(expected, all)) << isa_name(set);
  }
  force_isa(best);
}

TEST(AdamW, BlocksCoverTheBucketAndKeepDecayApart) {
  const BucketPlan plan = plan_buckets(kSegments, 1 << 24);
  int64_t at = 0;
  for (const AdamBlock& block : adam_blocks(plan.buckets[0])) {
    EXPECT_EQ(block.begin, at);
    EXPECT_LE(block.end - block.begin, 16384);
    for (const Segment& s : plan.buckets[0].segments) {
      const bool overlap = block.begin < s.offset + s.size && s.offset < block.end;
      EXPECT_TRUE(!overlap || block.decay == s.decay);
    }
    at = block.end;
  }
  EXPECT_EQ(at, plan.buckets[0].size);
}

TEST(AdamW, SaveAndLoadGoOnBitForBit) {
  at::manual_seed(3);
  const at::Tensor g = at::randn({37 * 53 + 61 + 30000 + 5});
  Flat one(kSegments, std::make_shared<AdamW>(AdamOptions{}));
  for (int64_t t = 1; t <= 3; ++t) one.bucket_gradient().copy_(g * t), one.step(t, 1e-3);
  MemoryState state;
  one.optimizer().save(state);
  Flat two(kSegments, std::make_shared<AdamW>(AdamOptions{}));
  two.optimizer().load(state);
  two.bucket_value().copy_(one.bucket_value());
  for (Flat* f : {&one, &two}) f->bucket_gradient().copy_(g), f->step(4, 1e-3);
  EXPECT_TRUE(at::equal(one.bucket_value(), two.bucket_value()));
}

}  // namespace
}  // namespace terse
