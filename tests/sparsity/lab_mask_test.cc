// `lab mask` as a function, on every schedule with the patterns that it takes: masks by a stable
// sort, strengths by the formulas of sparsity/schedule.h, written out once more.
#include "trainer/lab/mask/lab_mask.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <numeric>
#include <random>

#include "base/error.h"
#include "export/safetensors.h"
#include "tests/support/test_name.h"

namespace terse {
namespace {

constexpr int64_t kSteps = 100, kDense = 10, kFine = 15, kLength = kSteps - kDense - kFine;
constexpr int64_t kRows = 3, kColumns = 768;  // which 48 and 256 divide, the widest frames
constexpr double kBetaEnd = 1e-2, kRate = 0.03;

struct Case {
  const char* schedule;
  const char* pattern;
  double rate = 0;
};

// Of a step: N:M, or N = 0 and the share of zeros; and what the pruned are multiplied with.
struct Expected {
  int64_t keep = 0, of = 1;
  double zeros = 0, beta = 0;
};

struct Folder {
  std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / fmt::format("lab_mask_{}", getpid());
  Folder() { std::filesystem::create_directories(path); }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string operator/(const char* name) const { return (path / name).string(); }
};

Expected of_pattern(const std::string& pattern) {
  if (pattern == "unstructured:0.7") return {.keep = 0, .of = 0, .zeros = 0.7};
  const size_t colon = pattern.find(':');
  return {.keep = std::stoll(pattern), .of = std::stoll(pattern.substr(colon + 1))};
}

// floor(log2(M / N)) + 1 of them, from M-1:M through halves of M to N.
std::vector<int64_t> stepwise_keeps(const std::string& pattern) {
  if (pattern == "2:4") return {3, 2};
  if (pattern == "1:8") return {7, 4, 2, 1};
  if (pattern == "3:6") return {5, 3};
  return {31, 16, 8, 4, 2, 1};  // 1:32
}

Expected expected_at(const Case& c, int64_t taken) {
  const std::string schedule = c.schedule;
  Expected e = of_pattern(c.pattern);
  if (taken >= kSteps - kFine) return e;
  const int64_t since = taken - kDense;
  const auto u = static_cast<double>(since);
  if (schedule == "mask_linear")
    e.beta = c.rate > 0 ? std::max(0.0, 1 - c.rate * u) : 1 - u / kLength * (1 - kBetaEnd);
  if (schedule == "mask_exponential")
    e.beta = c.rate > 0 ? std::exp(-c.rate * u) : std::pow(kBetaEnd, u / kLength);
  if (schedule == "gradual") e.zeros = 0.7 * (1 - std::pow(1 - u / kLength, 3));
  const auto frame = [&](size_t frames) {  // the last whose first step is not behind this one
    size_t i = frames - 1;
    while (static_cast<int64_t>(i) * kLength / static_cast<int64_t>(frames) > since) --i;
    return i;
  };
  if (schedule == "structure_stepwise") {
    const std::vector<int64_t> keeps = stepwise_keeps(c.pattern);
    e.keep = keeps[frame(keeps.size())];
  }
  if (schedule == "structure_geometric") {
    const int64_t factor = int64_t{8} >> frame(4);  // 8N:8M, 4N:4M, 2N:2M, N:M
    e.keep *= factor;
    e.of *= factor;
  }
  return e;
}

// The `keep` of largest magnitude of each `of`; of equals the first.
std::vector<uint8_t> sorted_mask(const std::vector<float>& w, const Expected& e) {
  const auto n = static_cast<int64_t>(w.size());
  const int64_t of = e.of == 0 ? n : e.of;
  const int64_t keep = e.of == 0 ? std::llrint((1 - e.zeros) * static_cast<double>(n)) : e.keep;
  std::vector<uint8_t> mask(w.size());
  std::vector<size_t> order(static_cast<size_t>(of));
  for (int64_t group = 0; group < n; group += of) {
    std::iota(order.begin(), order.end(), static_cast<size_t>(group));
    std::ranges::stable_sort(order, std::greater<>(), [&](size_t i) { return std::fabs(w[i]); });
    for (int64_t k = 0; k < keep; ++k) mask[order[static_cast<size_t>(k)]] = 1;
  }
  return mask;
}

// Half of them whole numbers: many of equal magnitude.
std::vector<float> weights() {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> w(kRows * kColumns);
  for (size_t i = 0; i < w.size(); ++i)
    w[i] = i % 512 < 256 ? normal(random) : std::rint(2 * normal(random));
  return w;
}

class LabMask : public ::testing::TestWithParam<Case> {};

TEST_P(LabMask, IsTheMaskAndTheWeightOfEveryStage) {
  const Folder folder;
  const std::vector<float> w = weights();
  const std::vector<int64_t> shape = {kRows, kColumns};
  const TensorView view{DType::f32, shape, bytes_of(w.data(), kRows * kColumns)};
  write_safetensors(FileSystem::real(), folder / "in", {{"w", view}});
  LabMaskOptions options;
  options.in = folder / "in";
  options.out = folder / "out";
  options.run.steps = kSteps;
  options.run.options.pattern = GetParam().pattern;
  options.run.options.schedule = GetParam().schedule;
  options.run.options.dense = kDense;
  options.run.options.fine = kFine;
  options.run.options.beta_end = kBetaEnd;
  options.run.options.rate = GetParam().rate;
  // The last dense step, the first and the middle of the progressive ones, those about the borders
  // of frames of 75 steps in 2, 4 and 6, the last, the first fine one, the end, and as served.
  for (const int64_t taken :
       {9, 10, 21, 22, 28, 34, 35, 46, 47, 59, 60, 65, 66, 71, 72, 84, 85, 100, int{kServed}}) {
    SCOPED_TRACE(taken);
    options.step = taken;
    lab_mask(options);
    const SafetensorsFile file(folder / "out");
    const auto mask = file.require("w.mask", DType::u8, shape).as<uint8_t>();
    const auto seen = file.require("w.weight", DType::f32, shape).as<float>();
    const bool dense = taken != kServed && taken < kDense;
    EXPECT_EQ(file.metadata().at("stage"), dense ? "dense"
                                           : taken == kServed || taken >= kSteps - kFine
                                               ? "fine"
                                               : "progressive");
    const Expected e = expected_at(GetParam(), taken == kServed ? kSteps : taken);
    const std::vector<uint8_t> expected =
        dense ? std::vector<uint8_t>(w.size(), 1) : sorted_mask(w, e);
    ASSERT_TRUE(std::equal(mask.begin(), mask.end(), expected.begin()));
    const auto beta = static_cast<float>(e.beta);
    for (size_t i = 0; i < w.size(); ++i)
      ASSERT_EQ(seen[i], expected[i] != 0 ? w[i] : w[i] * beta) << i;
  }
}

std::vector<Case> every_case() {
  std::vector<Case> all = {{"constant", "unstructured:0.7"},
                           {"mask_linear", "unstructured:0.7"},
                           {"mask_exponential", "unstructured:0.7"},
                           {"gradual", "unstructured:0.7"},
                           {"mask_linear", "2:4", kRate},
                           {"mask_exponential", "2:4", kRate}};
  for (const char* schedule :
       {"constant", "mask_linear", "mask_exponential", "structure_stepwise", "structure_geometric"})
    for (const char* pattern : {"2:4", "1:8", "3:6", "1:32"}) all.push_back({schedule, pattern});
  return all;
}

INSTANTIATE_TEST_SUITE_P(EverySchedule, LabMask, ::testing::ValuesIn(every_case()),
                         [](const auto& test) {
                           const Case& c = test.param;
                           return test_name(fmt::format("{} {} {}", c.schedule, c.pattern,
                                                        c.rate > 0 ? "rate" : ""));
                         });

}  // namespace
}  // namespace terse
