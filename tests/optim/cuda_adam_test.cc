// Optimizers on a GPU against themselves on the CPU: the same bits, step by step.
#include <gtest/gtest.h>

#include <cmath>

#include "optim/adam_device.h"
#include "optim/adamw.h"
#include "optim/onebit_adam.h"
#include "optim/zero_one_adam.h"
#include "tests/optim/flat.h"
#include "tests/optim/training.h"
#include "tests/support/gpu.h"

namespace terse {
namespace {

using testing::kGpu;

const std::vector<SegmentSpec> kSegments = {
    {"a", 37, 53, true}, {"norm", 1, 61, false}, {"b", 300, 100, true}, {"c", 1, 5, false}};

// Gradients with a stretch that is never touched: dead once the variance is frozen.
at::Tensor gradient(int64_t n) {
  at::Tensor g = at::randn({n}) * 0.1;
  g.narrow(0, 100, 200).zero_();
  return g;
}

void compare(const std::function<std::shared_ptr<Optimizer>()>& make, int64_t steps) {
  at::manual_seed(1);
  Flat cpu(kSegments, make()), gpu(kSegments, make(), kGpu);
  gpu.bucket_value().copy_(cpu.bucket_value());
  for (int64_t step = 1; step <= steps; ++step) {
    const at::Tensor g = gradient(cpu.bucket_value().numel());
    cpu.bucket_gradient().copy_(g);
    gpu.bucket_gradient().copy_(g);
    if (cpu.next().phase != Phase::skip) {
      const at::Tensor message = cpu.message(step, 1e-2, 0.7);
      ASSERT_TRUE(at::equal(message, gpu.message(step, 1e-2, 0.7).cpu())) << "message " << step;
    }
    cpu.step(step, 1e-2);
    gpu.step(step, 1e-2);
    ASSERT_TRUE(at::equal(cpu.bucket_value(), gpu.bucket_value().cpu())) << "weights " << step;
  }
  const at::Tensor live = cpu.optimizer().live(0);
  ASSERT_EQ(live.defined(), gpu.optimizer().live(0).defined());
  if (live.defined()) {
    EXPECT_TRUE(at::equal(live, gpu.optimizer().live(0).cpu()));
  }
}

TEST(CudaAdam, AdamWEqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  compare([] { return std::make_shared<AdamW>(AdamOptions{}); }, 30);
}

TEST(CudaAdam, OnebitAdamEqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  for (const double floor : {0.0, 0.1})
    compare(
        [&] { return std::make_shared<OnebitAdam>(AdamOptions{}, FreezeRule::fixed(10), floor); },
        30);
}

TEST(CudaAdam, ZeroOneAdamEqualsTheCpuBitForBit) {
  TERSE_NEEDS_GPUS(1);
  const ZeroOneSchedule schedule{.freeze = 12,
                                 .refresh_doubling = 2,
                                 .local_steps = 4,
                                 .local_doubling = 5,
                                 .total_steps = 40};
  compare([&] { return std::make_shared<ZeroOneAdam>(AdamOptions{}, schedule, 0.1); }, 40);
}

TEST(CudaAdam, WritesTheWeightsRoundedToBf16) {
  TERSE_NEEDS_GPUS(1);
  const int64_t n = 1003;
  const AdamStep step{.one_minus_beta1 = 0.1f,
                      .beta2 = 0.95f,
                      .one_minus_beta2 = 0.05f,
                      .step_size = 1e-2f,
                      .eps = 1e-8f};
  const at::Tensor p = at::randn({n}, at::device(kGpu)), g = at::randn({n}, at::device(kGpu));
  const at::Tensor m = at::zeros_like(p), v = at::zeros_like(p);
  const at::Tensor rounded = at::empty({n}, at::device(kGpu).dtype(at::kBFloat16));
  adamw_device(step, p.mutable_data_ptr<float>(), m.mutable_data_ptr<float>(),
               v.mutable_data_ptr<float>(), g.const_data_ptr<float>(),
               static_cast<uint16_t*>(rounded.mutable_data_ptr()), n);
  EXPECT_TRUE(at::equal(rounded, p.to(at::kBFloat16)));
}

struct Losses {
  double first = 0;  // of the dense steps
  double last = 0;   // of the last twenty
};

Losses train(at::Device device) {
  OptimOptions optim;
  optim.name = "onebit_adam";
  optim.freeze = 10;
  ExchangeOptions exchange;
  exchange.codec = "onebit";
  Training run(Group::single(), optim, exchange, {}, device);
  Losses losses;
  for (int i = 0; i < 210; ++i) {
    const StepResult r = run.step();
    EXPECT_TRUE(r.committed);
    if (i < 10) losses.first += r.loss / 10;
    if (i >= 190) losses.last += r.loss / 20;
  }
  EXPECT_GT(run.reducer().encodes(), 0);
  run.reducer().check_replicas();
  return losses;
}

// Messages, residuals and updates are the CPU's bit for bit; the network's matrix products are not:
// 1e-6 of a loss while steps are dense. Later an element near 0 changes its sign, which error
// feedback makes good: the losses meet again, within a few per cent of where training began.
TEST(CudaTraining, OneRankCompressedLearnsAsOnTheCpu) {
  TERSE_NEEDS_GPUS(1);
  const Losses cpu = train(at::kCPU), gpu = train(kGpu);
  EXPECT_NEAR(gpu.first, cpu.first, 1e-5 * cpu.first);
  EXPECT_LT(cpu.last, 0.7 * cpu.first);
  EXPECT_NEAR(gpu.last, cpu.last, 0.05 * cpu.first);
}

}  // namespace
}  // namespace terse
