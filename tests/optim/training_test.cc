// Starts training_ranks.cc on 1, 2 and 4 ranks.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <vector>

#include "tests/support/processes.h"

namespace terse {
namespace {

std::vector<float> run(int ranks, testing::Started launcher = testing::Started::environment) {
  const std::string file = fmt::format("/tmp/terse-training-{}-{}", ::getpid(), ranks);
  testing::Launch launch;
  launch.launcher = launcher;
  launch.ranks = ranks;
  launch.command = {TERSE_RANKS_PROGRAM, file};
  launch.limit = std::chrono::seconds(120);
  const testing::Outcome o = testing::run_ranks(launch);
  EXPECT_TRUE(o.ok()) << o.text();
  std::ifstream in(file, std::ios::binary);
  std::vector<float> weights(64 * 32 + 48 * 32 + 48 + 48);
  in.read(reinterpret_cast<char*>(weights.data()),
          static_cast<std::streamsize>(weights.size() * sizeof(float)));
  EXPECT_TRUE(in.good());
  ::unlink(file.c_str());
  return weights;
}

// Also checks, on every number of ranks: warm-up equals AdamW; identical replicas after 200
// compressed steps; a NaN on one rank skips the step on all and leaves the state's hash; save and
// load in the middle equal an uninterrupted run; replicas that differ are named; DGC equals a
// simulation of all ranks; 0/1 Adam sends nothing in local steps, is one run on all ranks after
// each meeting, and resumes.
TEST(Training, SameWeightsOnOneTwoAndFourRanks) {
  const std::vector<float> one = run(1);
  for (int ranks : {2, 4}) {
    const std::vector<float> many = run(ranks);
    float worst = 0;
    for (size_t i = 0; i < one.size(); ++i) worst = std::max(worst, std::abs(one[i] - many[i]));
    // Means over 16, 2 x 8 and 4 x 4 samples round differently: 1e-7 of a gradient, so of an Adam
    // step of 1e-2, fifty times. Weights are near 1, where an ulp is 1e-7.
    EXPECT_LT(worst, 2e-6F) << ranks;
  }
}

TEST(Training, UnderMpirun) {
  if (!testing::available(testing::Started::mpirun)) GTEST_SKIP() << "no mpirun";
  run(2, testing::Started::mpirun);
}

}  // namespace
}  // namespace terse
