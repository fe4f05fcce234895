// Deep Gradient Compression on several ranks against a simulation of all of them in plain loops:
// not one bit may differ.
#include "optim/dgc.h"

#include <ATen/ATen.h>
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
  int64_t ranks_per_node = 1;  // more: hierarchical, a node is one worker
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
  // A sparse choice is made in each of `parts` apart.
  Simulated(std::vector<float> p, int64_t ranks, const Setting& s, bool matrix,
            std::vector<Range> parts)
      : p_(std::move(p)),
        u_(static_cast<size_t>(ranks), zeros()),
        v_(static_cast<size_t>(ranks / s.ranks_per_node), zeros()),
        s_(s),
        matrix_(matrix),
        parts_(std::move(parts)) {}

  void step(int64_t number, double density) {
    std::vector<float> sum = zeros();
    if (density == 0) {
      dense_step(number);
      return;
    }
    const auto workers = static_cast<int64_t>(v_.size());
    for (int64_t worker = 0; worker < workers; ++worker) {
      const std::vector<float> sent = compress(worker, number, density);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += sent[i];
    }
    const float factor = 1.0f / static_cast<float>(workers);
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
    std::vector<float> mean = zeros();
    const auto nodes = static_cast<int64_t>(v_.size());
    for (int64_t node = 0; node < nodes; ++node) {
      const auto g = node_mean(node, [&](int64_t rank) {
        return gradient_of(rank, number, static_cast<int64_t>(p_.size()));
      });
      for (size_t i = 0; i < g.size(); ++i) mean[i] += g[i];
    }
    for (size_t i = 0; i < mean.size(); ++i) {
      const float g = decayed(mean[i] * (1.0f / static_cast<float>(nodes)), i);
      const float next = s_.nesterov ? 0.9f * (u_[0][i] + g) : 0.9f * u_[0][i] + g;
      for (auto& u : u_) u[i] = next;
      p_[i] -= kLearningRate * (next + (s_.nesterov ? g : 0.0f));
    }
  }

  template <typename F>
  std::vector<float> node_mean(int64_t node, F f) const {
    std::vector<float> mean = zeros();
    for (int64_t l = 0; l < s_.ranks_per_node; ++l) {
      const std::vector<float> x = f(node * s_.ranks_per_node + l);
      for (size_t i = 0; i < x.size(); ++i) mean[i] += x[i];
    }
    for (float& x : mean) x *= 1.0f / static_cast<float>(s_.ranks_per_node);
    return mean;
  }

  // Momentum correction of one rank: what it adds to its worker's accumulator.
  std::vector<float> message(int64_t rank, int64_t number) {
    auto& u = u_[static_cast<size_t>(rank)];
    const auto gradient = gradient_of(rank, number, static_cast<int64_t>(p_.size()));
    std::vector<float> m = zeros();
    for (size_t i = 0; i < m.size(); ++i) {
      const float g = decayed(gradient[i], i);
      u[i] = s_.nesterov ? 0.9f * (u[i] + g) : 0.9f * u[i] + g;
      m[i] = s_.nesterov ? u[i] + g : u[i];
    }
    return m;
  }

  // Accumulation, selection and masking of one worker: a rank, or a node whose ranks have averaged
  // what they add.
  std::vector<float> compress(int64_t worker, int64_t number, double density) {
    auto& v = v_[static_cast<size_t>(worker)];
    std::vector<float> x = node_mean(worker, [&](int64_t rank) { return message(rank, number); });
    for (size_t i = 0; i < x.size(); ++i) x[i] += v[i];
    if (!matrix_ || density >= 1) {
      v = zeros();
      return x;
    }
    std::vector<float> sent = zeros();
    v = x;
    for (const size_t i : largest(x, density)) {
      sent[i] = x[i];
      v[i] = 0;
      for (int64_t l = 0; l < s_.ranks_per_node; ++l)
        u_[static_cast<size_t>(worker * s_.ranks_per_node + l)][i] = 0;
    }
    return sent;
  }

  std::vector<size_t> largest(const std::vector<float>& x, double density) const {
    std::vector<size_t> chosen;
    for (const Range part : parts_) {
      std::vector<size_t> order(static_cast<size_t>(part.size()));
      std::iota(order.begin(), order.end(), static_cast<size_t>(part.begin));
      std::stable_sort(order.begin(), order.end(),
                       [&](size_t a, size_t b) { return std::abs(x[a]) > std::abs(x[b]); });
      const double k = std::ceil(density * static_cast<double>(part.size()));
      chosen.insert(chosen.end(), order.begin(), order.begin() + static_cast<int64_t>(k));
    }
    return chosen;
  }

  std::vector<float> p_;
  std::vector<std::vector<float>> u_, v_;
  Setting s_;
  bool matrix_;
  std::vector<Range> parts_;
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
  const bool nodes = s.ranks_per_node > 1;
  const auto dgc = std::make_shared<Dgc>(SgdOptions{0.9, s.nesterov, s.weight_decay}, schedule,
                                         true, group.size());
  const ExchangeOptions exchange{
      .codec = "topk", .density = s.density, .sparse = sparse, .hierarchy = nodes};
  ReducerOptions options;
  options.clip = 0;
  Reducer reducer(group, parameters, dgc,
                  make_dense_exchange(group, exchange, at::kCPU, s.ranks_per_node),
                  make_exchange(group, exchange, at::kCPU, s.ranks_per_node), options);
  // The bucket holds the vector first: the order of backward. Two ranks share it in slices of 384
  // and 304 elements.
  std::vector<Range> parts{{0, kMatrix}};
  if (nodes) parts = {{0, 384 - kVector}, {384 - kVector, kMatrix}};
  Simulated w(start_values(kMatrix), group.size(), s, true, parts);
  Simulated b(start_values(kVector), group.size(), s, false, {});
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
  if (group.size() != 4) return;
  for (const bool nesterov : {false, true})
    check(group, {.ranks_per_node = 2, .nesterov = nesterov}, "gather");
  check(group, {.ranks_per_node = 2, .density = 0.004, .ramp = 16, .sparse_below = 0.2}, "gather");
}

}  // namespace terse
