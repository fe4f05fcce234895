// examples/quest: the six models of QuEST as its train.sh and for_plots/runs_for_scaling.json have
// them, counted without building one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "optim/schedule.h"
#include "trainer/recipe/recipe.h"

namespace terse {
namespace {

struct Size {
  const char* name;
  int64_t parameters;  // besides embedding and output
  int64_t tokens;
  double lr;
};

const Size kSizes[] = {
    {"30m", 30'482'560, 3'000'000'000, 1.2e-3},    {"50m", 49'556'736, 5'000'000'000, 1.2e-3},
    {"100m", 102'777'856, 10'000'000'000, 6e-4},   {"200m", 203'188'480, 20'000'000'000, 3e-4},
    {"430m", 443'068'288, 43'000'000'000, 1.5e-4}, {"800m", 822'151'168, 80'000'000'000, 7.5e-5},
};

Recipe recipe_of(const Size& size) {
  return load_recipe(fmt::format("{}/examples/quest/{}.toml", TERSE_SOURCE_DIR, size.name));
}

TEST(Quest, ParametersAreThePublishedOnes) {
  for (const Size& size : kSizes) {
    LlamaOptions model = recipe_of(size).model.llama;
    EXPECT_EQ(model.body_parameters(), size.parameters) << size.name;
    model.vocab = 32000;
    EXPECT_EQ(model.parameters(), size.parameters + 2 * 32000 * model.width) << size.name;
    EXPECT_EQ(model.head_size(), 128) << size.name;
  }
}

TEST(Quest, StepsAndRatesAreThePublishedOnes) {
  for (const Size& size : kSizes) {
    const Recipe recipe = recipe_of(size);
    const int64_t steps = recipe.train.steps, batch = recipe.train.batch_tokens;
    EXPECT_EQ(batch, 512 * 512) << size.name;
    EXPECT_EQ(steps, size.tokens / batch) << size.name;
    double peak = 0;
    for (int64_t t = 1; t <= steps; ++t)
      peak = std::max(peak, learning_rate(recipe.optim, t, steps));
    EXPECT_NEAR(peak, size.lr, 1e-6 * size.lr) << size.name;  // the peak may lie between two steps
    EXPECT_NEAR(learning_rate(recipe.optim, 1, steps), size.lr / 100, 1e-12 * size.lr) << size.name;
    EXPECT_NEAR(learning_rate(recipe.optim, steps, steps), size.lr / 10, 1e-12) << size.name;
  }
}

}  // namespace
}  // namespace terse
