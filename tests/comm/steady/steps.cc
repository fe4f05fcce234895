#include "tests/comm/steady/steps.h"

#include <ATen/ATen.h>

#include <cstdio>
#include <vector>

#include "optim/make_reducer.h"
#include "tests/comm/exchange/ranks.h"
#include "tests/comm/steady/watch.h"

namespace terse::testing {
namespace {

struct Steady {
  OptimOptions optim;
  ExchangeOptions exchange;
  int64_t last = 16;  // step; the first that is watched is the ninth
  int64_t local = 0;  // how many of those watched send nothing
  bool coded = true;  // the others go through the codec
};

// Two buckets, each of whose buffers, a quarter of a chunk included, is far above 4,096 bytes.
std::vector<Parameter> large_parameters() {
  std::vector<Parameter> all;
  for (const char* bucket : {"a", "b"})
    for (const std::vector<int64_t>& shape : {std::vector<int64_t>{300, 400}, {400}, {250, 320}})
      all.push_back({fmt::format("{}{}", bucket, shape.back()) + (shape.size() == 1 ? "v" : ""),
                     host_message(shape[0] * (shape.size() > 1 ? shape[1] : 1), 90, 0)
                         .view(shape)
                         .requires_grad_(true),
                     true});
  return all;
}

// Gradients of one step, in the order of the parameters. The first row of "a400" has none, so that
// one bucket has dead coordinates and the other has not.
std::vector<at::Tensor> gradients(const std::vector<Parameter>& parameters, int64_t rank,
                                  int64_t step) {
  std::vector<at::Tensor> all;
  for (const Parameter& p : parameters)
    all.push_back(host_message(p.value.numel(), rank, step).view(p.value.sizes()));
  all[0][0].zero_();
  return all;
}

std::string name_of(const Steady& s) {
  return fmt::format("{} freeze {} with {} {}{}", s.optim.name, s.optim.freeze, s.exchange.codec,
                     s.exchange.sparse, s.exchange.hierarchy ? " in 2 nodes" : "");
}

void check(const Group& group, const Steady& s) {
  const std::vector<Parameter> parameters = large_parameters();
  Reducer reducer =
      make_reducer(group, parameters, s.optim, s.exchange,
                   {.steps = 1000, .ranks_per_node = s.exchange.hierarchy ? 2 : 1},
                   {.bucket_bytes = 4 * (300 * 400 + 400 + 250 * 320), .rounded = true});
  std::vector<std::vector<at::Tensor>> data;
  for (int64_t step = 0; step < 4; ++step)
    data.push_back(gradients(parameters, group.rank(), step));
  forget_allocations();
  int64_t local = 0;
  for (int64_t step = 1; step <= s.last; ++step) {
    watch(step > 8);
    reducer.begin(step, 1e-3);
    reducer.last_micro_batch();
    for (size_t i = 0; i < parameters.size(); ++i)
      parameters[i].value.mutable_grad().copy_(data[static_cast<size_t>(step % 4)][i]);
    const StepResult r = reducer.finish(0);
    watch(false);
    expect(r.committed, name_of(s) + ": a step was skipped");
    if (step <= 8) continue;
    local += r.phase == Phase::skip;
    expect(r.phase == Phase::skip || (r.phase == Phase::codec) == s.coded,
           name_of(s) + ": not what was to be watched");
  }
  expect(local == s.local, fmt::format("{}: {} local steps", name_of(s), local));
  std::printf("%s: %.0f small objects a step\n", name_of(s).c_str(),
              small_objects() / static_cast<double>(s.last - 8));
  expect_no_buffers(name_of(s));
}

OptimOptions optimizer(const std::string& name, int64_t freeze = 0) {
  OptimOptions o;
  o.name = name;
  o.warmup = 0;
  o.freeze = freeze;
  return o;
}

std::vector<Steady> settings() {
  using E = ExchangeOptions;
  const E onebit{.codec = "onebit"};
  // Meetings at steps 12 and 16; and steps 9 to 15 of a run that refreshes the variance at 8
  // and 16.
  OptimOptions local = optimizer("zero_one_adam", 4), between = optimizer("zero_one_adam", 1000);
  local.local_steps = 4;
  local.local_doubling = between.refresh_doubling = 1;
  return {{optimizer("adamw"), {}, 16, 0, false},
          {optimizer("sgd"), {.codec = "bf16"}, 16, 0, false},
          {optimizer("adamw"), {.codec = "lowrank", .rank = 4}},
          {optimizer("onebit_adam", 2), onebit},
          {optimizer("onebit_adam", 2), {.codec = "bits"}},
          {local, onebit, 16, 6},
          {between, onebit, 15},
          {optimizer("dgc"), E{.codec = "topk", .density = 0.05, .sparse = "gather"}},
          {optimizer("dgc"), E{.codec = "topk", .density = 0.05, .sparse = "scatter"}}};
}

}  // namespace

void check_steady_steps(const Group& group) {
  for (Steady s : settings()) {
    check(group, s);
    if (group.size() != 4) continue;
    s.exchange.hierarchy = true;
    check(group, s);
  }
}

}  // namespace terse::testing
