// Deep Gradient Compression on several ranks against a simulation of all of them, and what sends
// everything against momentum SGD.
#include "optim/dgc.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>

#include "comm/make_exchange.h"
#include "comm/reducer.h"
#include "tests/optim/ranks.h"
#include "tests/optim/simulated_dgc.h"

namespace terse {
namespace {

constexpr int64_t kRows = 20, kColumns = 32, kMatrix = kRows * kColumns, kVector = 48;
constexpr int64_t kSteps = 40;

double squares(const std::vector<float>& values) {
  double sum = 0;
  for (const float x : values) sum += static_cast<double>(x) * static_cast<double>(x);
  return sum;
}

// What every rank must clip by (comm/reducer.h), from all ranks' gradients in fp64.
class Clipping {
 public:
  Clipping(int64_t ranks, const DgcSetting& s)
      : ranks_(ranks), s_(s), clip_(s.clip * local_norm(1)) {}

  double clip() const { return clip_; }
  // Of dense steps: by the norm of the mean.
  double dense(int64_t step, double norm_of_mean) {
    previous_ = local_norm(step);
    return coefficient(norm_of_mean);
  }
  // Of codec steps: by the previous step's norm, unless this step's asks for less than half of it.
  double coded(int64_t step) {
    const double before = coefficient(previous_);
    previous_ = local_norm(step);
    const double truth = coefficient(previous_);
    const bool again = truth < 0.5 * before;
    reencoded += again;
    return again ? truth : before;
  }

  int64_t reencoded = 0;

 private:
  double coefficient(double norm) const { return clip_ > 0 && norm > clip_ ? clip_ / norm : 1; }
  // sqrt of the mean over ranks of squared norms.
  double local_norm(int64_t step) const {
    double sum = 0;
    for (int64_t rank = 0; rank < ranks_; ++rank)
      for (const int64_t n : {kMatrix, kVector}) sum += squares(gradient_of(rank, step, n, s_));
    return std::sqrt(sum / static_cast<double>(ranks_));
  }

  int64_t ranks_;
  DgcSetting s_;
  double clip_;
  double previous_ = 0;  // nothing is known before the first step
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

// A rank's own side of the run, and all ranks simulated.
class Run {
 public:
  Run(const Group& group, const DgcSetting& s, const std::string& sparse)
      : group_(group),
        s_(s),
        schedule_{s.density, s.ramp, s.sparse_below},
        clipping_(group.size(), s),
        parameters_{
            {"w", tensor_of(start_values(kMatrix), {kRows, kColumns}).requires_grad_(true), true},
            {"b", tensor_of(start_values(kVector), {kVector}).requires_grad_(true), false}},
        dgc_(std::make_shared<Dgc>(SgdOptions{0.9, s.nesterov, s.weight_decay}, schedule_, true,
                                   group.size())),
        w_(start_values(kMatrix), group.size(), s, true, parts(s)),
        b_(start_values(kVector), group.size(), s, false, {}),
        reducer_(make(sparse)) {}

  void check() {
    for (int64_t step = 1; step <= kSteps; ++step) check_step(step);
    const at::Tensor u = dgc_->velocity(0);
    expect_equal(u.narrow(0, 0, kVector), b_.velocity(group_.rank()), "velocity of the vector");
    expect_equal(u.narrow(0, kVector, kMatrix), w_.velocity(group_.rank()),
                 "velocity of the matrix");
    // No setting may be empty, and what the jump asks for must have happened.
    expect(reducer_.encodes() > 0, "nothing was encoded");
    expect(clipping_.reencoded == (s_.clip > 0 ? 1 : 0),
           fmt::format("{} steps were to be encoded again", clipping_.reencoded));
  }

 private:
  // The bucket holds the vector first: the order of backward. Two ranks share it in slices of 384
  // and 304 elements.
  static std::vector<Range> parts(const DgcSetting& s) {
    if (s.ranks_per_node == 1) return {{0, kMatrix}};
    return {{0, 384 - kVector}, {384 - kVector, kMatrix}};
  }

  Reducer make(const std::string& sparse) const {
    const ExchangeOptions exchange{.codec = "topk",
                                   .density = s_.density,
                                   .sparse = sparse,
                                   .hierarchy = s_.ranks_per_node > 1};
    ReducerOptions options;
    options.clip = clipping_.clip();
    return {group_,
            parameters_,
            dgc_,
            make_dense_exchange(group_, exchange, at::kCPU, s_.ranks_per_node),
            make_exchange(group_, exchange, at::kCPU, s_.ranks_per_node),
            options};
  }

  void check_step(int64_t step) {
    const double density = schedule_.at(step);
    const std::string where = fmt::format("step {}, density {}", step, density);
    expect((reducer_.phase().phase == Phase::codec) == (density > 0), "phase at " + where);
    reducer_.begin(step, static_cast<double>(kDgcLearningRate));
    parameters_[0].value.grad().copy_(
        tensor_of(w_.gradient(group_.rank(), step), {kRows, kColumns}));
    parameters_[1].value.grad().copy_(tensor_of(b_.gradient(group_.rank(), step), {kVector}));
    const StepResult r = reducer_.finish(0);
    expect(r.committed, "a step was skipped");
    check_coefficient(step, density, r, where);
    w_.step(step, density, r.clip_coefficient);
    b_.step(step, density, r.clip_coefficient);
    expect_equal(parameters_[0].value, w_.values(), "matrix differs at " + where);
    expect_equal(parameters_[1].value, b_.values(), "vector differs at " + where);
  }

  void check_coefficient(int64_t step, double density, const StepResult& r,
                         const std::string& where) {
    const int64_t before = clipping_.reencoded;
    const double wanted = density > 0
                              ? clipping_.coded(step)
                              : clipping_.dense(step, std::sqrt(squares(w_.mean_gradient(step)) +
                                                                squares(b_.mean_gradient(step))));
    // The same squares, exact in fp64, added in another order.
    expect(std::abs(r.clip_coefficient - wanted) <= 1e-12 * wanted,
           fmt::format("clipped by {}, not {}, at {}", r.clip_coefficient, wanted, where));
    expect(r.reencoded == (clipping_.reencoded > before), "encoded again at " + where);
    for (const double theirs : group_.all_gather_value(r.clip_coefficient))
      expect(theirs == r.clip_coefficient, "coefficients differ at " + where);
  }

  Group group_;
  DgcSetting s_;
  DensitySchedule schedule_;
  Clipping clipping_;
  std::vector<Parameter> parameters_;
  std::shared_ptr<Dgc> dgc_;
  SimulatedDgc w_, b_;
  Reducer reducer_;
};

void check(const Group& group, const DgcSetting& s) {
  Run(group, s, "gather").check();
}

// Whole numbers below 8, of either sign.
at::Tensor integers(int64_t rank, int64_t step, int64_t n) {
  std::vector<float> x = gradient_of(rank, step, n);
  for (float& v : x) v = std::trunc(8 * v);
  return at::tensor(x, at::kFloat);
}

// Weights after 8 steps of momentum 0.5 and learning rate 1/8.
at::Tensor exact_run(const Group& group, int64_t ranks_per_node, bool nesterov, bool compress) {
  const ExchangeOptions exchange{.codec = compress ? "topk" : "fp32",
                                 .density = 1,
                                 .sparse = "gather",
                                 .hierarchy = ranks_per_node > 1};
  const Parameter w{"w", integers(99, 0, kMatrix).view({kRows, kColumns}).requires_grad_(true),
                    true};
  ReducerOptions options;
  options.clip = 0;
  Reducer reducer(group, {w},
                  std::make_shared<Dgc>(SgdOptions{0.5, nesterov, 0},
                                        DensitySchedule{.density = 1, .sparse_below = 2}, compress,
                                        group.size()),
                  make_dense_exchange(group, exchange, at::kCPU, ranks_per_node),
                  compress ? make_exchange(group, exchange, at::kCPU, ranks_per_node) : nullptr,
                  options);
  for (int64_t step = 1; step <= 8; ++step) {
    expect((reducer.phase().phase == Phase::codec) == compress, "phase of an exact run");
    reducer.begin(step, 0.125);
    w.value.grad().copy_(integers(group.rank(), step, kMatrix).view({kRows, kColumns}));
    expect(reducer.finish(0).committed, "a step was skipped");
  }
  return w.value.detach();
}

// Whatever is sent in whole is momentum SGD. Exactly: with numbers below 8, halved eight times, by
// 4 ranks and by 8, no sum has more than 6 bits before the point and 13 behind it.
void sending_all_is_sgd(const Group& group) {
  for (const int64_t ranks_per_node : {1, 2}) {
    if (ranks_per_node > 1 && group.size() != 4) continue;
    for (const bool nesterov : {false, true})
      expect(at::equal(exact_run(group, ranks_per_node, nesterov, true),
                       exact_run(group, ranks_per_node, nesterov, false)),
             fmt::format("DGC that sends all is not SGD: nesterov {}, {} ranks a node", nesterov,
                         ranks_per_node));
  }
}

}  // namespace

void dgc_runs(const Group& group) {
  // The ramp stays dense while 1/4 is too much, and the velocity goes on across the switch.
  const DgcSetting ramp{.density = 0.004, .ramp = 16, .sparse_below = 0.2};
  // Between a half, where the first step would be encoded again, and 1.
  const double clip = 0.7;
  DgcSetting clipped_ramp = ramp;
  clipped_ramp.clip = clip;
  for (const int64_t ranks_per_node : {1, 2}) {
    if (ranks_per_node > 1 && group.size() != 4) continue;
    for (const bool nesterov : {false, true}) {
      check(group, {.ranks_per_node = ranks_per_node, .nesterov = nesterov});
      check(group, {.ranks_per_node = ranks_per_node,
                    .nesterov = nesterov,
                    .density = 1,
                    .sparse_below = 2});
      check(group, {.ranks_per_node = ranks_per_node, .nesterov = nesterov, .clip = clip});
    }
    for (DgcSetting s : {ramp, clipped_ramp}) {
      s.ranks_per_node = ranks_per_node;
      check(group, s);
    }
  }
  sending_all_is_sgd(group);
}

}  // namespace terse
