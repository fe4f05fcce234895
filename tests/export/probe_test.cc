#include "export/probe.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/export/test_files.h"

namespace terse {
namespace {

LogitsProbe sample() {
  return {.ids = {1, 7, 3}, .vocab = 4, .logits = {0, 1, 2, 3, -1, 5, 0, 0, 2, 2, 2, 2}};
}

// log softmax, in fp64, of each row.
std::vector<float> log_probabilities(const LogitsProbe& probe) {
  std::vector<float> all;
  for (size_t r = 0; r < probe.ids.size(); ++r) {
    double sum = 0;
    for (size_t i = 0; i < 4; ++i) sum += std::exp(double{probe.logits[4 * r + i]});
    for (size_t i = 0; i < 4; ++i)
      all.push_back(static_cast<float>(probe.logits[4 * r + i] - std::log(sum)));
  }
  return all;
}

TEST(Probe, ComesBack) {
  const TestFolder folder;
  const std::string path = probe_path(folder / "model.gguf");
  EXPECT_EQ(probe_path("a/hf/"), "a/hf.probe.safetensors");
  LogitsProbe probe = sample();
  probe.act_bits = 4;
  write_probe(FileSystem::real(), path, probe);
  const LogitsProbe read = read_probe(path);
  EXPECT_EQ(read.ids, probe.ids);
  EXPECT_EQ(read.logits, probe.logits);
  EXPECT_EQ(read.vocab, 4);
  EXPECT_EQ(read.act_bits, 4);
}

TEST(Probe, DifferenceIsRelativeToTheSpread) {
  const LogitsProbe probe = sample();
  std::vector<float> theirs = log_probabilities(probe);
  EXPECT_LT(probe_difference(probe, theirs), 1e-6);  // rounding of the log-probabilities to fp32
  theirs[6] += 0.5f;
  // About the means 1.5, 1 and 2 the squares add up to 5 + 22 + 0.
  EXPECT_NEAR(probe_difference(probe, theirs), std::sqrt(0.25 / 27), 1e-6);
  theirs[0] = std::nanf("");
  EXPECT_FALSE(probe_difference(probe, theirs) <= 1.0);
  theirs.pop_back();
  EXPECT_THROW(probe_difference(probe, theirs), Error);
}

TEST(Probe, OtherFilesAreErrors) {
  const TestFolder folder;
  LogitsProbe probe = sample();
  probe.logits.resize(8);
  probe.ids = {};
  probe.vocab = 0;
  write_probe(FileSystem::real(), folder / "empty", probe);
  EXPECT_THROW(read_probe(folder / "empty"), Error);
  EXPECT_THROW(read_probe(folder / "missing"), Error);
}

}  // namespace
}  // namespace terse
