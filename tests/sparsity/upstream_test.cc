// Against the paper's own code: masks, forward of linear and exponential mask decay, the gradients
// of both and of SR-STE, and the epochs at which structure decay changes N:M.
#include <gtest/gtest.h>

#include <cmath>

#include "sparsity/mask.h"
#include "sparsity/schedule.h"
#include "tests/support/golden_file.h"

namespace terse {
namespace {

bool bit(const std::vector<uint8_t>& mask, int64_t columns, int64_t i) {
  return mask[static_cast<size_t>(i / columns * mask_stride(columns) + i % columns / 8)] >>
             (i % columns % 8) &
         1;
}

struct Case {
  explicit Case(GoldenFile& file)
      : rows(file.integer()), columns(file.integer()), n(file.integer()), m(file.integer()) {
    rate = file.number();
    coefficient = file.number();
    step = file.integer();
    const int64_t all = rows * columns;
    weight = file.list<float>(all);
    gradient = file.list<float>(all);
    mask = file.list<uint8_t>(all);
    linear = file.list<float>(all);
    exponential = file.list<float>(all);
    decay_gradient = file.list<float>(all);
    srste_gradient = file.list<float>(all);
  }
  Pattern pattern() const { return m == 0 ? Pattern{0, 0, rate} : Pattern{n, m}; }

  int64_t rows, columns, n, m, step;
  double rate, coefficient;
  std::vector<float> weight, gradient;
  std::vector<uint8_t> mask;
  std::vector<float> linear, exponential, decay_gradient, srste_gradient;
};

std::vector<float> forward(const Case& c, const std::vector<uint8_t>& mask,
                           MaskSchedule::Kind kind) {
  MaskSchedule schedule;
  schedule.kind = kind;
  schedule.pattern = c.pattern();
  schedule.steps = 100000;
  schedule.rate = c.coefficient;
  std::vector<float> out(c.weight.size());
  blend_rows({.f32 = c.weight.data()}, mask.data(), static_cast<float>(schedule.at(c.step).beta),
             c.rows, c.columns, {.f32 = out.data()});
  return out;
}

// Upstream computes beta in fp64 and multiplies fp32 tensors by it, as here.
TEST(Upstream, MasksForwardsAndGradients) {
  GoldenFile file("sparsity/golden/upstream.bin");
  const int64_t cases = file.integer();
  ASSERT_EQ(cases, 9);
  for (int64_t i = 0; i < cases; ++i) {
    const Case c(file);
    SCOPED_TRACE(to_string(c.pattern()));
    std::vector<uint8_t> mask(static_cast<size_t>(c.rows * mask_stride(c.columns)));
    ASSERT_TRUE(select_mask(c.pattern(), c.weight.data(), c.rows, c.columns, mask.data()));
    for (int64_t e = 0; e < c.rows * c.columns; ++e)
      EXPECT_EQ(bit(mask, c.columns, e), c.mask[static_cast<size_t>(e)] != 0) << e;
    EXPECT_EQ(forward(c, mask, MaskSchedule::Kind::mask_linear), c.linear);
    EXPECT_EQ(forward(c, mask, MaskSchedule::Kind::mask_exponential), c.exponential);
    EXPECT_EQ(c.gradient, c.decay_gradient);  // what GradientFlow::straight_through promises
    std::vector<float> srste = c.gradient;
    add_pruned_rows(c.weight.data(), mask.data(), 2e-4f, c.rows, c.columns, srste.data());
    EXPECT_EQ(srste, c.srste_gradient);
  }
}

TEST(Upstream, StructureDecayChangesAtTheSameEpochs) {
  GoldenFile file("sparsity/golden/upstream.bin");
  for (int64_t i = 0, cases = file.integer(); i < cases; ++i) Case skipped(file);
  const int64_t cases = file.integer();
  ASSERT_EQ(cases, 6);
  for (int64_t i = 0; i < cases; ++i) {
    MaskSchedule schedule;
    schedule.kind = file.integer() == 0 ? MaskSchedule::Kind::structure_stepwise
                                        : MaskSchedule::Kind::structure_geometric;
    schedule.pattern.keep = file.integer();
    schedule.pattern.of = file.integer();
    schedule.steps = file.integer();
    schedule.dense = file.integer();
    schedule.fine = file.integer();
    SCOPED_TRACE(to_string(schedule.pattern));
    const int64_t frames = file.integer();
    Pattern expected;
    int64_t until = 0;
    for (int64_t f = 0; f < frames; ++f) {
      const int64_t epoch = file.integer();
      for (; until < epoch; ++until) {
        if (f == 0)
          EXPECT_FALSE(schedule.at(until).masked);
        else
          EXPECT_EQ(to_string(schedule.at(until).pattern), to_string(expected)) << until;
      }
      expected.keep = file.integer();
      expected.of = file.integer();
    }
    for (; until < schedule.steps; ++until)
      EXPECT_EQ(to_string(schedule.at(until).pattern), to_string(expected)) << until;
  }
  EXPECT_TRUE(file.done());
}

}  // namespace
}  // namespace terse
