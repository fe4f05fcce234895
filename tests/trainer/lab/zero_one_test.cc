// `terse lab optimize --name zero_one_adam` against DeepSpeed's ZeroOneAdam (golden files by
// tests/peers/deepspeed_zeroone.py) and against its definition in fp64, 1-bit exchange included.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/comm/exchange/deepspeed.h"
#include "tests/trainer/lab/lab.h"
#include "tests/trainer/lab/two_stage_reference.h"

namespace terse::testing {
namespace {

std::vector<std::string> words(const std::vector<std::string>& sets) {
  std::vector<std::string> all = {"optimize", "--name", "zero_one_adam"};
  for (const std::string& set : sets) all.insert(all.end(), {"--set", set});
  return all;
}

// Averages are exact on both sides (a codec that drops nothing), so that signs near 0 cannot part
// them.
TEST(LabZeroOneAdam, AgreesWithDeepSpeed) {
  std::vector<SafetensorsFile> golden;
  std::vector<Tensors> inputs;
  for (int rank = 0; rank < 2; ++rank) {
    golden.emplace_back(fmt::format("{}/tests/trainer/lab/golden/zero_one_adam.{}.safetensors",
                                    TERSE_SOURCE_DIR, rank));
    Tensors& in = inputs.emplace_back();
    for (const std::string& name : golden.back().names())
      if (!name.starts_with("expected/")) in[name] = tensor_of(golden.back(), name);
  }
  const auto files =
      Lab().run(words({"lr=1e-2", "weight_decay=0", "freeze=13", "refresh_doubling=2",
                       "local_steps=4", "local_doubling=5", "variance_floor=0",
                       "exchange.codec=\"topk\"", "exchange.density=1"}),
                inputs);
  int compared = 0;
  for (size_t rank = 0; rank < 2; ++rank)
    for (const std::string& name : golden[rank].names()) {
      if (!name.starts_with("expected/")) continue;
      const bool state = name.find('@') == std::string::npos;
      const std::string ours = state ? name.substr(9) : name.substr(11);
      const at::Tensor theirs = tensor_of(golden[rank], name);
      const at::Tensor mine = tensor_of(files[rank], ours.ends_with(".v") ? ours + "hat" : ours);
      // Both round in fp32, 40 steps of 1e-2 on weights near 1; momentum is a quotient of sums.
      EXPECT_TRUE(at::allclose(mine, theirs, 2e-5, 2e-6))
          << name << " " << (mine - theirs).abs().max().item<double>();
      ++compared;
    }
  EXPECT_EQ(compared, 2 * 3 * 40 + 2 * 3);
  const auto phases = texts(files[0], "phase");
  std::string letters;
  for (const std::string& phase : phases) letters += phase[0];
  EXPECT_EQ(letters,
            "dddcdcdcccdcc"
            "ccccc"
            "scscs"
            "csss"
            "csss"
            "csss"
            "csss"
            "c");
}

constexpr double kBeta1 = 0.9, kBeta2 = 0.95, kLr = 1e-2, kDecay = 0.1, kEps = 1e-8;
constexpr int64_t kFreeze = 6, kSteps = 24, kElements = 256;

at::Tensor gradient(int64_t rank, int64_t step) {
  return (message(kElements, 3, 0) * 0.3 + message(kElements, rank, step) * 0.5).view({16, 16});
}

// Algorithm 1 of arXiv:2202.06009 with the exchange of optim/zero_one_adam.h before the freeze,
// corrected moments and decoupled decay: local weights are really moved step by step, and a meeting
// goes back to those of the last one.
class Reference {
 public:
  explicit Reference(const Vector& start)
      : p(2, start),
        exchange(start.size(), 2),
        met_(start),
        m_(2, Vector(start.size())),
        u_(2, Vector(start.size())),
        v_(start.size()) {}

  void step(char phase, const std::vector<Vector>& g) {
    ++t_;
    const double size = kLr / (1 - std::pow(kBeta1, static_cast<double>(t_)));
    if (t_ <= kFreeze)
      early(phase, g, size);
    else
      late(phase, g, size);
    if (t_ == kFreeze) {
      exchange.forget();
      met_ = p[0];
    }
  }

  std::vector<Vector> p;  // weights by rank
  TwoStageReference exchange;

 private:
  double root(size_t i) const {
    return std::sqrt(v_[i] / (1 - std::pow(kBeta2, static_cast<double>(refreshes_)))) + kEps;
  }
  void early(char phase, const std::vector<Vector>& g, double size) {
    Vector mean(v_.size());
    for (size_t i = 0; i < v_.size(); ++i) mean[i] = (g[0][i] + g[1][i]) / 2;
    if (phase == 'd') {
      ++refreshes_;
      for (size_t i = 0; i < v_.size(); ++i)
        v_[i] = kBeta2 * v_[i] + (1 - kBeta2) * mean[i] * mean[i];
    } else {
      mean = exchange.average(g);
    }
    for (size_t r = 0; r < 2; ++r)
      for (size_t i = 0; i < v_.size(); ++i) {
        m_[r][i] = kBeta1 * m_[r][i] + (1 - kBeta1) * mean[i];
        p[r][i] = p[r][i] * (1 - kLr * kDecay) - size * m_[r][i] / root(i);
      }
  }
  void late(char phase, const std::vector<Vector>& g, double size) {
    const double keep = 1 - kLr * kDecay;
    kept_ *= keep;
    sum_ = sum_ * keep + size;
    for (size_t r = 0; r < 2; ++r)
      for (size_t i = 0; i < v_.size(); ++i) {
        m_[r][i] = kBeta1 * m_[r][i] + (1 - kBeta1) * g[r][i];
        u_[r][i] = u_[r][i] * keep + size * m_[r][i];
        p[r][i] = p[r][i] * keep - size * m_[r][i] / root(i);
      }
    if (phase == 's') return;
    const Vector u = exchange.average(u_);
    for (size_t i = 0; i < v_.size(); ++i) {
      met_[i] = kept_ * met_[i] - u[i] / root(i);
      for (size_t r = 0; r < 2; ++r) p[r][i] = met_[i], m_[r][i] = u[i] / sum_, u_[r][i] = 0;
    }
    kept_ = 1, sum_ = 0;
  }

  Vector met_;
  std::vector<Vector> m_, u_;
  Vector v_;
  int64_t t_ = 0, refreshes_ = 0;
  double kept_ = 1, sum_ = 0;
};

TEST(LabZeroOneAdam, EqualsItsDefinition) {
  const at::Tensor start = message(kElements, 7, 0).view({16, 16});
  std::vector<Tensors> inputs(2);
  for (size_t rank = 0; rank < 2; ++rank) {
    inputs[rank]["w"] = start;
    for (int64_t t = 1; t <= kSteps; ++t)
      inputs[rank][fmt::format("w@{}", t)] = gradient(static_cast<int64_t>(rank), t);
  }
  const auto files = Lab().run(
      words({"lr=1e-2", "weight_decay=0.1", "freeze=6", "refresh_doubling=1", "local_steps=4",
             "local_doubling=6", "variance_floor=0", "exchange.codec=\"onebit\""}),
      inputs);
  // Refreshes at 1, 2, 4; the freeze after 6; intervals 1, 2 from 13 on, 4 from 19 on.
  Reference reference(values_of(start));
  const auto told = texts(files[0], "phase");
  std::string letters;
  for (const std::string& phase : told) letters += phase[0];
  EXPECT_EQ(letters,
            "ddcdcc"
            "cccccc"
            "scscsc"
            "scsssc");
  for (int64_t t = 1; t <= kSteps; ++t) {
    const char phase = told[static_cast<size_t>(t - 1)][0];
    reference.step(phase, {values_of(gradient(0, t)), values_of(gradient(1, t))});
    const std::string name = fmt::format("w@{}", t);
    for (size_t rank = 0; rank < 2; ++rank) {
      const Vector w = values_of(tensor_of(files[rank], name));
      double worst = 0;
      for (size_t i = 0; i < w.size(); ++i)
        worst = std::max(worst, std::abs(w[i] - reference.p[rank][i]));
      // fp32 against fp64: 1e-7 of weights near 1 a step, and of steps of at most 0.1.
      EXPECT_LT(worst, 5e-6) << t;
    }
    const bool same = at::equal(tensor_of(files[0], name), tensor_of(files[1], name));
    EXPECT_EQ(same, phase != 's') << t;
  }
  // No sign was decided by rounding, or the two could part at no one's fault.
  EXPECT_GT(reference.exchange.least_part, 2e-6);
}

}  // namespace
}  // namespace terse::testing
