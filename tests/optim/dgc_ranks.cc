// Deep Gradient Compression on several ranks against a simulation of all of them in plain loops:
// not one bit may differ.
#include "optim/dgc.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "comm/make_exchange.h"
#include "comm/reducer.h"
#include "tests/optim/ranks.h"

namespace terse {
namespace {

constexpr int64_t kRows = 20, kColumns = 32, kMatrix = kRows * kColumns, kVector = 48;
constexpr float kLearningRate = 0.05f;

struct Setting {
  bool nesterov = false;
  double density = 0.02;
  double weight_decay = 0.01;
  int64_t ramp = 0;
  double sparse_below = 1;
};

std::vector<float> gradient_of(int64_t rank, int64_t step, int64_t n) {
  std::vector<float> g(static_cast<size_t>(n));
  auto state = static_cast<uint32_t>(rank * 7919 + step * 104729 + n);
  for (float& x : g) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(static_cast<int32_t>(state >> 8) - (1 << 23)) * 0x1p-23f;
    x = x * x * x;  // some are much larger than others
  }
  return g;
}

// One parameter on all ranks.
class Simulated {
 public:
  Simulated(std::vector<float> p, int64_t ranks, const Setting& s, bool matrix)
      : p_(std::move(p)), u_(static_cast<size_t>(ranks), zeros()), v_(u_), s_(s), matrix_(matrix) {}

  void step(int64_t number, double density) {
    std::vector<float> sum = zeros();
    const auto ranks = static_cast<int64_t>(u_.size());
    if (density == 0) {
      dense_step(number);
      return;
    }
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const std::vector<float> sent = compress(rank, number, density);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += sent[i];
    }
    const float factor = 1.0f / static_cast<float>(ranks);
    for (size_t i = 0; i < p_.size(); ++i) p_[i] -= kLearningRate * (factor * sum[i]);
  }
  const std::vector<float>& values() const { return p_; }
  const std::vector<float>& velocity(int64_t rank) const { return u_[static_cast<size_t>(rank)]; }

 private:
  std::vector<float> zeros() const { return std::vector<float>(p_.size(), 0.0f); }
  float decayed(float g, size_t i) const {
    return g + (matrix_ ? static_cast<float>(s_.weight_decay) : 0.0f) * p_[i];
  }

  void dense_step(int64_t number) {
    const auto ranks = static_cast<int64_t>(u_.size());
    std::vector<float> mean = zeros();
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const auto g = gradient_of(rank, number, static_cast<int64_t>(p_.size()));
      for (size_t i = 0; i < g.size(); ++i) mean[i] += g[i];
    }
    for (size_t i = 0; i < mean.size(); ++i) {
      const float g = decayed(mean[i] * (1.0f / static_cast<float>(ranks)), i);
      const float next = s_.nesterov ? 0.9f * (u_[0][i] + g) : 0.9f * u_[0][i] + g;
      for (auto& u : u_) u[i] = next;
      p_[i] -= kLearningRate * (next + (s_.nesterov ? g : 0.0f));
    }
  }

  // Momentum correction, accumulation, selection and masking of one rank.
  std::vector<float> compress(int64_t rank, int64_t number, double density) {
    auto& u = u_[static_cast<size_t>(rank)];
    auto& v = v_[static_cast<size_t>(rank)];
    const auto gradient = gradient_of(rank, number, static_cast<int64_t>(p_.size()));
    std::vector<float> x = v;
    for (size_t i = 0; i < x.size(); ++i) {
      const float g = decayed(gradient[i], i);
      u[i] = s_.nesterov ? 0.9f * (u[i] + g) : 0.9f * u[i] + g;
      x[i] = (s_.nesterov ? u[i] + g : u[i]) + v[i];
    }
    std::vector<float> sent = zeros();
    if (!matrix_ || density >= 1) {
      v = zeros();
      return x;
    }
    std::vector<size_t> order(x.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return std::abs(x[a]) > std::abs(x[b]); });
    const auto k = static_cast<size_t>(std::ceil(density * static_cast<double>(x.size())));
    v = x;
    for (size_t j = 0; j < k; ++j) {
      sent[order[j]] = x[order[j]];
      v[order[j]] = u[order[j]] = 0;
    }
    return sent;
  }

  std::vector<float> p_;
  std::vector<std::vector<float>> u_, v_;
  Setting s_;
  bool matrix_;
};

std::vector<float> start_values(int64_t n) {
  return gradient_of(99, 0, n);
}

at::Tensor tensor_of(const std::vector<float>& values, at::IntArrayRef shape) {
  return at::tensor(values, at::kFloat).view(shape);
}

void expect_equal(const at::Tensor& got, const std::vector<float>& wanted,
                  const std::string& what) {
  expect(at::equal(got.flatten(), at::tensor(wanted, at::kFloat)), what);
}

void check(const Group& group, const Setting& s, const std::string& sparse) {
  const std::vector<Parameter> parameters = {
      {"w", tensor_of(start_values(kMatrix), {kRows, kColumns}).requires_grad_(true), true},
      {"b", tensor_of(start_values(kVector), {kVector}).requires_grad_(true), false}};
  const DensitySchedule schedule{s.density, s.ramp, s.sparse_below};
  const auto dgc = std::make_shared<Dgc>(SgdOptions{0.9, s.nesterov, s.weight_decay}, schedule,
                                         true, group.size());
  const ExchangeOptions exchange{.codec = "topk", .density = s.density, .sparse = sparse};
  ReducerOptions options;
  options.clip = 0;
  Reducer reducer(group, parameters, dgc, make_dense_exchange(group, exchange),
                  make_exchange(group, exchange), options);
  Simulated w(start_values(kMatrix), group.size(), s, true);
  Simulated b(start_values(kVector), group.size(), s, false);
  for (int64_t step = 1; step <= 40; ++step) {
    reducer.begin(step, static_cast<double>(kLearningRate));
    parameters[0].value.grad().copy_(
        tensor_of(gradient_of(group.rank(), step, kMatrix), {kRows, kColumns}));
    parameters[1].value.grad().copy_(
        tensor_of(gradient_of(group.rank(), step, kVector), {kVector}));
    expect(reducer.finish(0).committed, "a step was skipped");
    w.step(step, schedule.at(step));
    b.step(step, schedule.at(step));
    const std::string where = fmt::format("step {}, density {}", step, schedule.at(step));
    expect_equal(parameters[0].value, w.values(), "matrix differs at " + where);
    expect_equal(parameters[1].value, b.values(), "vector differs at " + where);
  }
  // The bucket holds the vector first: the order of backward.
  const at::Tensor u = dgc->velocity(0);
  expect_equal(u.narrow(0, 0, kVector), b.velocity(group.rank()), "velocity of the vector");
  expect_equal(u.narrow(0, kVector, kMatrix), w.velocity(group.rank()), "velocity of the matrix");
}

}  // namespace

void dgc_runs(const Group& group) {
  for (const bool nesterov : {false, true}) {
    check(group, {.nesterov = nesterov}, "gather");
    check(group, {.nesterov = nesterov, .density = 1}, "gather");  // momentum SGD
  }
  // The ramp stays dense while 1/4 is too much, and the velocity goes on across the switch.
  check(group, {.density = 0.004, .ramp = 16, .sparse_below = 0.2}, "gather");
}

}  // namespace terse
