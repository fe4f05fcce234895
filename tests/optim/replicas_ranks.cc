// Ranks hold the same bytes after 1,000 steps, however they were disturbed: stalls at random points
// of a step, other numbers of threads, a stop in the middle. Run by replicas_test.cc.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <span>
#include <thread>

#include "tests/optim/ranks.h"
#include "tests/optim/training.h"

namespace terse {
namespace {

constexpr int64_t kReplicaSteps = 1000;
// Four buckets: two vectors, [1280, 32] and [64, 32]. The large one has 40,960 elements: 10 windows
// of a codec, 3 blocks of an optimizer, 5 of a dense average, each above what a second thread is
// asked for. The rate: one step of Adam moves the output by at most 0.2, the sum of 1,280 weights.
constexpr TrainingSize kReplicaSize{.hidden = 1280, .learning_rate = 2e-4};

struct ReplicaCase {
  std::string name;
  OptimOptions optim;
  ExchangeOptions exchange;
  // A run's bits are a function of the recipe, and of nothing else: not so where LibTorch's
  // products, whose rounding may depend on the number of threads, are part of what is sent ...
  bool threads_round = false;
  // ... and where measured times decide.
  bool by_time = false;
};

OptimOptions named(const std::string& name) {
  OptimOptions o;
  o.name = name;
  return o;
}

std::vector<ReplicaCase> replica_cases() {
  using E = ExchangeOptions;
  OptimOptions onebit = named("onebit_adam"), zero_one = named("zero_one_adam"), dgc = named("dgc");
  onebit.freeze = zero_one.freeze = 100;
  zero_one.warmup = 0;
  zero_one.local_steps = 4;
  zero_one.local_doubling = 50;
  dgc.ramp = 200;
  const OptimOptions adamw = named("adamw");
  const auto topk = [](const char* sparse) {
    return E{.codec = "topk", .density = 0.02, .sparse = sparse};
  };
  E control = topk("gather"), lgreco = topk("auto"), choosing = topk("auto");
  control.feedback = "econtrol";
  lgreco.codec = "lgreco", lgreco.family = "topk", lgreco.every = 100;
  choosing.codec = "auto", choosing.candidates = {"fp32", "topk", "onebit"}, choosing.every = 100;
  return {{"onebit_adam", onebit, {.codec = "onebit"}},
          {"zero_one_adam", zero_one, {.codec = "onebit"}},
          {"topk_gather", adamw, topk("gather")},
          {"topk_scatter", adamw, topk("scatter")},
          {"topk_econtrol", adamw, control},
          {"bits", adamw, {.codec = "bits", .rounding = "stochastic"}},
          {"lowrank", adamw, {.codec = "lowrank", .rank = 2}, true},
          {"dgc", dgc, topk("gather")},
          {"lgreco", adamw, lgreco},
          {"auto", adamw, choosing, false, true}};
}

struct Disturbance {
  bool stalls = false;
  int threads = 1;  // of what runs after backward
  bool stops = false;
};

// Seldom, and then for up to ten steps' time; on each rank at other times.
class Stalls {
 public:
  Stalls(bool on, int rank) : on_(on), random_(static_cast<uint32_t>(100 + rank)) {}
  void here() {
    if (!on_ || random_() % 50 != 0) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + random_() % 10));
  }

 private:
  bool on_;
  std::minstd_rand random_;
};

class DisturbedRun {
 public:
  DisturbedRun(const Group& group, const ReplicaCase& c, const Disturbance& d)
      : group_(group), case_(c), disturbance_(d), stalls_(d.stalls, group.rank()) {
    begin();
  }

  at::Tensor weights_at_the_end() {
    const at::Tensor start = run_->weights();
    double first = 0, last = 0;
    bool stops = disturbance_.stops;
    for (int64_t step = 1; step <= kReplicaSteps; ++step) {
      const StepResult r = one_step();
      expect(r.committed, fmt::format("{}: step {} was skipped", case_.name, step));
      (step <= 20 ? first : last) += step <= 20 || step > kReplicaSteps - 20 ? r.loss : 0.0;
      if (!stops || step < kReplicaSteps / 2 || !r.in_sync) continue;
      begin_again();
      stops = false;
    }
    // Else equality would say little.
    expect(encodes_ + run_->reducer().encodes() > 0 || case_.by_time, "nothing was encoded");
    expect(last < first, fmt::format("{}: loss from {} to {}", case_.name, first, last));
    return run_->weights();
  }

 private:
  void begin() {
    run_ = std::make_unique<Training>(group_, case_.optim, case_.exchange, ReducerOptions{},
                                      at::kCPU, 1, kReplicaSize);
    // Of the embedding, the last in backward: the other buckets are under way.
    run_->parameters().front().value.register_hook([this](const at::Tensor&) { stalls_.here(); });
  }
  // As a new process would.
  void begin_again() {
    MemoryState state(group_.size());
    run_->save(state);
    encodes_ = run_->reducer().encodes();
    run_.reset();
    begin();
    run_->load(state);
  }
  // Backward on one thread: its own rounding would depend on more.
  StepResult one_step() {
    stalls_.here();
    const StepResult r = run_->step(false, [this] {
      stalls_.here();
      omp_set_num_threads(disturbance_.threads);
    });
    omp_set_num_threads(1);
    return r;
  }

  Group group_;
  ReplicaCase case_;
  Disturbance disturbance_;
  Stalls stalls_;
  int64_t encodes_ = 0;  // before the stop
  std::unique_ptr<Training> run_;
};

at::Tensor replicas_of(const Group& group, const ReplicaCase& c, const Disturbance& d) {
  const at::Tensor own = DisturbedRun(group, c, d).weights_at_the_end();
  const auto all = Group(group).all_gather_bytes(
      std::as_bytes(std::span(own.const_data_ptr<float>(), static_cast<size_t>(own.numel()))));
  for (size_t rank = 1; rank < all.size(); ++rank)
    expect(std::memcmp(all[0].data(), all[rank].data(), all[0].size()) == 0,
           fmt::format("{}: weights of rank {} are not rank 0's", c.name, rank));
  expect(own.isfinite().all().item<bool>(), c.name + ": weights are not finite");
  return own;
}

}  // namespace

void disturbed_replicas(const Group& group, const std::string& name) {
  const std::vector<ReplicaCase> cases = replica_cases();
  const auto c = std::find_if(cases.begin(), cases.end(),
                              [&](const ReplicaCase& one) { return one.name == name; });
  expect(c != cases.end(), "no case is named " + name);
  omp_set_num_threads(1);
  const int team = 1 + group.rank();
  const at::Tensor calm = replicas_of(group, *c, {});
  const at::Tensor disturbed = replicas_of(
      group, *c, {.stalls = true, .threads = c->threads_round ? 1 : team, .stops = true});
  expect(c->by_time || at::equal(calm, disturbed),
         name + ": stalls, threads or the stop changed the run");
  if (c->threads_round) replicas_of(group, *c, {.stalls = true, .threads = team});
}

}  // namespace terse
