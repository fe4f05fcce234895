// All ranks of Deep Gradient Compression in plain loops, one parameter at a time, operation by
// operation as optim/dgc.h defines it: not one bit may differ.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "comm/bucket.h"

namespace terse {

struct DgcSetting {
  int64_t ranks_per_node = 1;  // more: hierarchical, a node is one worker
  bool nesterov = false;
  double density = 0.02;
  double weight_decay = 0.01;
  int64_t ramp = 0;
  double sparse_below = 1;
  // Clipping, in norms of the first step; 0 = off. Not 0: gradients are six times larger from step
  // kJump on.
  double clip = 0;
};

inline constexpr float kDgcLearningRate = 0.05f;
inline constexpr int64_t kJump = 20;

inline std::vector<float> gradient_of(int64_t rank, int64_t step, int64_t n,
                                      const DgcSetting& s = {}) {
  std::vector<float> g(static_cast<size_t>(n));
  auto state = static_cast<uint32_t>(rank * 7919 + step * 104729 + n);
  for (float& x : g) {
    state = state * 1664525u + 1013904223u;
    x = static_cast<float>(static_cast<int32_t>(state >> 8) - (1 << 23)) * 0x1p-23f;
    x = x * x * x;  // some are much larger than others
    if (s.clip > 0 && step >= kJump) x *= 6;
  }
  return g;
}

// One parameter on all ranks.
class SimulatedDgc {
 public:
  // A sparse choice is made in each of `parts` apart.
  SimulatedDgc(std::vector<float> p, int64_t ranks, const DgcSetting& s, bool matrix,
               std::vector<Range> parts)
      : p_(std::move(p)),
        u_(static_cast<size_t>(ranks), zeros()),
        v_(static_cast<size_t>(ranks / s.ranks_per_node), zeros()),
        s_(s),
        matrix_(matrix),
        parts_(std::move(parts)) {}

  // `coefficient`: of clipping.
  void step(int64_t number, double density, double coefficient) {
    coefficient_ = static_cast<float>(coefficient);
    if (density == 0) {
      dense_step(number);
      return;
    }
    std::vector<float> sum = zeros();
    const auto workers = static_cast<int64_t>(v_.size());
    for (int64_t worker = 0; worker < workers; ++worker) {
      const std::vector<float> sent = compress(worker, number, density);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += sent[i];
    }
    const float factor = 1.0f / static_cast<float>(workers);
    for (size_t i = 0; i < p_.size(); ++i) p_[i] -= kDgcLearningRate * (factor * sum[i]);
  }
  const std::vector<float>& values() const { return p_; }
  // What dense steps average.
  std::vector<float> mean_gradient(int64_t number) const {
    std::vector<float> mean = zeros();
    const auto nodes = static_cast<int64_t>(v_.size());
    for (int64_t node = 0; node < nodes; ++node) {
      const auto g = node_mean(node, [&](int64_t rank) { return gradient(rank, number); });
      for (size_t i = 0; i < g.size(); ++i) mean[i] += g[i];
    }
    for (float& x : mean) x *= 1.0f / static_cast<float>(nodes);
    return mean;
  }
  std::vector<float> gradient(int64_t rank, int64_t number) const {
    return gradient_of(rank, number, static_cast<int64_t>(p_.size()), s_);
  }
  const std::vector<float>& velocity(int64_t rank) const { return u_[static_cast<size_t>(rank)]; }

 private:
  std::vector<float> zeros() const { return std::vector<float>(p_.size(), 0.0f); }
  float decayed(float g, size_t i) const {
    return coefficient_ * g + (matrix_ ? static_cast<float>(s_.weight_decay) : 0.0f) * p_[i];
  }

  void dense_step(int64_t number) {
    const std::vector<float> mean = mean_gradient(number);
    for (size_t i = 0; i < mean.size(); ++i) {
      const float g = decayed(mean[i], i);
      const float next = s_.nesterov ? 0.9f * (u_[0][i] + g) : 0.9f * u_[0][i] + g;
      for (auto& u : u_) u[i] = next;
      p_[i] -= kDgcLearningRate * (next + (s_.nesterov ? g : 0.0f));
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
    const std::vector<float> own = gradient(rank, number);
    std::vector<float> m = zeros();
    for (size_t i = 0; i < m.size(); ++i) {
      const float g = decayed(own[i], i);
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
  DgcSetting s_;
  bool matrix_;
  std::vector<Range> parts_;
  float coefficient_ = 1;
};

}  // namespace terse
