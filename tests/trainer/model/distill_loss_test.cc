// The losses of distillation against their formulas, differentiated by autograd in fp64.
#include "trainer/model/ops/distill_loss.h"

#include <cmath>
#include <cstdint>

#include "tests/trainer/model/compare.h"

namespace terse::test {
namespace {

at::Tensor formula(const at::Tensor& logits, const at::Tensor& targets, const at::Tensor& teacher,
                   const DistillWeights& w) {
  const at::Tensor t = at::softmax(teacher / w.temperature, 1);
  const at::Tensor s = at::log_softmax(logits / w.temperature, 1);
  const at::Tensor kl = at::kl_div(s, t, at::Reduction::Sum) * w.temperature * w.temperature;
  return at::cross_entropy_loss(logits, targets) * w.task +
         kl * (w.logits / static_cast<double>(logits.size(0)));
}

TEST(DistillLoss, CrossEntropyAndDivergence) {
  at::manual_seed(4);
  // More rows than are done at a time.
  const at::Tensor logits = at::randn({700, 37}) * 3, teacher = at::randn({700, 37}) * 3;
  const at::Tensor targets = at::randint(37, {700}, at::kLong);
  for (const DistillWeights& w : {DistillWeights{1, 1, 1}, DistillWeights{0, 2, 3},
                                  DistillWeights{0.5, 0.25, 0.5}, DistillWeights{1, 0, 1}}) {
    at::Tensor student = logits.clone().requires_grad_();
    const at::Tensor loss = distill_cross_entropy(student, targets, teacher, w);
    (loss * 0.5).backward();
    at::Tensor wide = logits.to(at::kDouble).requires_grad_();
    const at::Tensor expected = formula(wide, targets, teacher.to(at::kDouble), w);
    (expected * 0.5).backward();
    // Softmax in fp32: some 2^-23 of a value of at most 1; a gradient is that, over 700 rows.
    expect_close({loss}, {expected.to(at::kFloat)}, 1e-6, 0.0);
    expect_close({student.grad()}, {wide.grad().to(at::kFloat)}, 1e-5, 1e-8);
  }
}

TEST(DistillLoss, LogitsOfTheTeacherCostNothingBeyondTheTask) {
  at::manual_seed(4);
  const at::Tensor logits = at::randn({9, 11}), targets = at::randint(11, {9}, at::kLong);
  at::Tensor student = logits.clone().requires_grad_();
  const at::Tensor loss = distill_cross_entropy(student, targets, logits, {0, 1, 2});
  loss.backward();
  EXPECT_EQ(loss.item<float>(), 0.0f);
  EXPECT_TRUE(at::equal(student.grad(), at::zeros_like(logits)));
}

// A class that the teacher excludes costs nothing, and its gradient is the student's share of it.
TEST(DistillLoss, ImpossibleClassesAreNoNan) {
  at::Tensor student = at::zeros({1, 3}).requires_grad_();
  const at::Tensor teacher = at::tensor({0.0f, 0.0f, -INFINITY}).view({1, 3});
  const at::Tensor loss =
      distill_cross_entropy(student, at::zeros({1}, at::kLong), teacher, {0, 1, 1});
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), std::log(1.5), 1e-6);
  expect_close({student.grad()},
               {at::tensor({1.0f / 3 - 0.5f, 1.0f / 3 - 0.5f, 1.0f / 3}).view({1, 3})}, 1e-6, 0.0);
}

TEST(DistillLoss, Bfloat16RoundsTheGradientOnce) {
  at::manual_seed(4);
  const at::Tensor logits = at::randn({30, 20}).to(at::kBFloat16),
                   teacher = at::randn({30, 20}).to(at::kBFloat16);
  const at::Tensor targets = at::randint(20, {30}, at::kLong);
  at::Tensor narrow = logits.clone().requires_grad_();
  at::Tensor wide = logits.to(at::kFloat).requires_grad_();
  const at::Tensor a = distill_cross_entropy(narrow, targets, teacher, {1, 1, 2});
  const at::Tensor b = distill_cross_entropy(wide, targets, teacher.to(at::kFloat), {1, 1, 2});
  a.backward();
  b.backward();
  expect_same_bits({a}, {b});
  expect_same_bits({narrow.grad()}, {wide.grad().to(at::kBFloat16)});
}

// Kurtic et al.'s ratio of mean squares, an example at a time.
TEST(DistillLoss, Squarehead) {
  at::manual_seed(6);
  Tensors student, teacher, wide, wide_teacher;
  for (int l = 0; l < 3; ++l) {
    student.push_back(at::randn({2, 5, 8}).requires_grad_());
    teacher.push_back(at::randn({2, 5, 8}) * (l + 1));
    wide.push_back(student.back().detach().to(at::kDouble).requires_grad_());
    wide_teacher.push_back(teacher.back().to(at::kDouble));
  }
  const at::Tensor loss = squarehead(student, teacher);
  loss.backward();
  at::Tensor expected = at::zeros({}, at::kDouble);
  for (size_t l = 0; l < 3; ++l)
    for (int64_t e = 0; e < 2; ++e)
      expected =
          expected + at::mse_loss(wide[l][e], wide_teacher[l][e]) /
                         at::mse_loss(wide_teacher[l][e], at::zeros_like(wide_teacher[l][e])) / 6.0;
  expected.backward();
  expect_close({loss}, {expected.to(at::kFloat)}, 1e-6, 0.0);
  for (size_t l = 0; l < 3; ++l)
    expect_close({student[l].grad()}, {wide[l].grad().to(at::kFloat)}, 1e-6, 1e-9);
}

}  // namespace
}  // namespace terse::test
