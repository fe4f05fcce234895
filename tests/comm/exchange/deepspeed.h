// The golden file of tests/peers/deepspeed_onebit.py, and what it says about an exchange of ours:
// one call from the oracle's own residuals, and 200 calls from zero.
#pragma once
#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <string>

#include "comm/bucket.h"
#include "export/safetensors.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {

inline at::Tensor tensor_of(const SafetensorsFile& file, const std::string& name) {
  const TensorView view = file.require(name);
  at::Tensor out = at::empty(view.shape, view.dtype == DType::f64 ? at::kDouble : at::kFloat);
  expect(out.nbytes() == view.data.size(), name + " is neither fp32 nor fp64");
  std::memcpy(out.mutable_data_ptr(), view.data.data(), view.data.size());
  return out;
}

class DeepSpeed {
 public:
  static constexpr int kCalls = 200;
  static constexpr int kRecorded[] = {0, 1, 2, 10, 50, 199};

  DeepSpeed(int ranks, const std::string& path) : ranks_(ranks), file_(path) {}

  int ranks() const { return ranks_; }
  int64_t elements() const { return answer(0).numel(); }
  at::Tensor answer(int call) const { return get(fmt::format("{}/answer", call)); }
  // worker_before, worker_after, server_before, server_after of a recorded call.
  at::Tensor state(int call, int rank, const std::string& name) const {
    return get(fmt::format("{}/{}/{}", call, rank, name));
  }
  double worker_norm(int call, int rank) const { return norm("worker_norm", call, rank); }
  double server_norm(int call, int rank) const { return norm("server_norm", call, rank); }
  double mean_error(int call) const { return get("mean_error")[call].item<double>(); }

 private:
  at::Tensor get(const std::string& name) const {
    return tensor_of(file_, fmt::format("{}/{}", ranks_, name));
  }
  double norm(const std::string& name, int call, int rank) const {
    return get(name)[call][rank].item<double>();
  }

  int ranks_;
  SafetensorsFile file_;
};

// What one rank of ours made of one call.
struct ExchangeState {
  at::Tensor answer;  // the whole bucket
  at::Tensor worker;  // residuals after the call
  at::Tensor server;
};

// Signs equal wherever |x| is above 1e-4 of the scale; there the residual may differ by two scales.
inline void expect_residual(const at::Tensor& ours, const at::Tensor& theirs, const at::Tensor& x,
                            double scale, const std::string& what) {
  const at::Tensor clear = x.abs() > 1e-4 * scale;
  // 3e-5 of the scale is the bound of the scales themselves; x adds a few roundings.
  const double worst = (ours - theirs).masked_select(clear).abs().max().item<double>() /
                       (scale + x.abs().max().item<double>());
  expect(worst < 4e-5, fmt::format("{}: residual differs by {} of the largest", what, worst));
}

// `ours` began with the oracle's residuals of before the recorded `call`.
inline void expect_call(const DeepSpeed& oracle, int call, int rank, const ExchangeState& ours) {
  const at::Tensor theirs = oracle.answer(call);
  const int64_t n = theirs.numel();
  const std::string what = fmt::format("call {} on {} ranks", call, oracle.ranks());

  const at::Tensor x = message(n, rank, call) + oracle.state(call, rank, "worker_before");
  const double scale = x.norm().item<double>() / std::sqrt(static_cast<double>(n));
  expect_residual(ours.worker, oracle.state(call, rank, "worker_after"), x, scale,
                  what + ", worker");
  const Range chunk = chunk_of(n, oracle.ranks(), rank);
  const at::Tensor server_after = oracle.state(call, rank, "server_after");
  const at::Tensor y = server_after + theirs.narrow(0, chunk.begin, chunk.size());
  const double server_scale = theirs[chunk.begin].abs().item<double>();
  expect_residual(ours.server, server_after, y, server_scale, what + ", server");
  for (int64_t j = 0; j < oracle.ranks(); ++j) {
    const int64_t at = chunk_of(n, oracle.ranks(), j).begin;
    const double a = ours.answer[at].abs().item<double>();
    const double b = theirs[at].abs().item<double>();
    expect(std::abs(a - b) < 3e-5 * b, what + fmt::format(": scale {} against {}", a, b));
  }
  // Signs of the answer, where this rank knows y.
  const at::Tensor mine = ours.answer.narrow(0, chunk.begin, chunk.size());
  const at::Tensor other = theirs.narrow(0, chunk.begin, chunk.size());
  const at::Tensor differ =
      (mine.sign() != other.sign()).logical_and(y.abs() > 1e-4 * server_scale);
  expect(differ.sum().item<int64_t>() == 0, what + ": signs differ");
}

// Once a sign falls differently because sums round differently, single elements part by two scales:
// then the norms agree as those of independent samples do, whose relative spread over m elements is
// 1 / sqrt(2 m). With l1 in place of rms the first call fails.
inline void expect_near(double ours, double theirs, int64_t elements, const std::string& what) {
  const double spread = 3 / std::sqrt(2.0 * static_cast<double>(elements));
  expect(std::abs(ours - theirs) < spread * theirs,
         fmt::format("{}: {} against {}", what, ours, theirs));
}

// The running sums of 200 calls from zero residuals: what arrived and what was given.
class FreeRun {
 public:
  explicit FreeRun(const DeepSpeed& oracle)
      : oracle_(oracle),
        sent_(at::zeros({oracle.elements()}, at::kDouble)),
        given_(at::zeros_like(sent_)) {}

  void add(int call, const at::Tensor& answer) {
    sent_ += answer.to(at::kDouble);
    for (int r = 0; r < oracle_.ranks(); ++r)
      given_ += message(answer.numel(), r, call).to(at::kDouble) / oracle_.ranks();
    expect_near(((sent_ - given_).norm() / given_.norm()).item<double>(), oracle_.mean_error(call),
                answer.numel(), fmt::format("error of the running mean after call {}", call));
  }
  void expect_norms(int call, int rank, const at::Tensor& worker, const at::Tensor& server) const {
    expect_near(worker.norm().item<double>(), oracle_.worker_norm(call, rank), worker.numel(),
                fmt::format("worker residual after call {}", call));
    expect_near(server.norm().item<double>(), oracle_.server_norm(call, rank), server.numel(),
                fmt::format("server residual after call {}", call));
  }
  // What was given and has not arrived yet.
  at::Tensor missing() const { return given_ - sent_; }
  at::Tensor given() const { return given_; }

 private:
  const DeepSpeed& oracle_;
  at::Tensor sent_, given_;
};

}  // namespace terse::testing
