// What several ranks must agree on; run by training_test.cc, replicas_test.cc, canaries_test.cc:
//   optim_ranks FILE | replicas NAME | canaries PROBLEM OPTIMIZER
// FILE receives rank 0's weights after 50 dense steps, to compare over numbers of ranks.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <functional>

#include "base/error.h"
#include "launch/rendezvous.h"
#include "tests/optim/ranks.h"
#include "tests/optim/training.h"

namespace terse {
namespace {

OptimOptions onebit(int64_t freeze) {
  OptimOptions o;
  o.name = "onebit_adam";
  o.freeze = freeze;
  return o;
}

ExchangeOptions coded() {
  ExchangeOptions e;
  e.codec = "onebit";
  return e;
}

void dense_run(const Group& group, const std::string& file) {
  Training adamw(group, {}, {}, {});
  Training warm_up(group, onebit(1000), coded(), {});
  for (int i = 0; i < 50; ++i) {
    const StepResult a = adamw.step();
    const StepResult b = warm_up.step();
    expect(a.committed && a.loss == b.loss, fmt::format("warm-up is not AdamW at step {}", i));
    expect(a.clip_coefficient == b.clip_coefficient, "clip coefficients differ");
  }
  expect(at::equal(adamw.weights(), warm_up.weights()), "warm-up is not AdamW");
  adamw.reducer().check_replicas();
  expect(warm_up.reducer().encodes() == 0, "a dense phase encoded");
  if (group.rank() != 0) return;
  const at::Tensor w = adamw.weights();
  std::ofstream(file, std::ios::binary)
      .write(static_cast<const char*>(w.const_data_ptr()),
             static_cast<std::streamsize>(w.nbytes()));
}

void compressed_run(const Group& group) {
  Training run(group, onebit(10), coded(), {});
  const at::Tensor untouched = run.untouched();
  double first = 0, last = 0;
  int64_t wire = 0, dense = 0;
  for (int i = 0; i < 210; ++i) {
    const StepResult r = run.step();
    expect(r.committed, "a step was skipped");
    expect(r.phase == (i < 10 ? Phase::dense : Phase::codec), "freeze is off");
    if (i < 20) first += r.loss;
    if (i >= 190) last += r.loss;
    if (i >= 10) wire += r.wire_bytes, dense += r.dense_bytes;
  }
  run.reducer().check_replicas();
  expect(run.reducer().encodes() > 0, "nothing was encoded");
  expect(at::equal(untouched, run.untouched()), "rows without a gradient moved");
  expect(last < 0.7 * first, fmt::format("loss went from {} to {}", first / 20, last / 20));
  if (group.size() > 1) expect(wire < dense / 3, fmt::format("sent {} of {}", wire, dense));
}

void poisoned_run(const Group& group) {
  Training run(group, onebit(4), coded(), {});
  for (int i = 1; i <= 10; ++i) {
    const bool bad = i == 2 || i == 4 || i == 7;
    const uint64_t before = run.hash();
    const at::Tensor weights = run.weights();
    const StepResult r = run.step(bad && group.rank() == group.size() - 1);
    expect(r.committed != bad, fmt::format("step {} committed: {}", i, r.committed));
    if (!bad) continue;
    expect(r.bad_rank == group.size() - 1, "the wrong rank is named");
    expect(at::equal(weights, run.weights()), "a skipped step moved the weights");
    // Only the numbers of steps taken and skipped may differ.
    MemoryState state(group.size());
    run.save(state);
    expect(state.require_integer(Scope::shared, "reducer/skipped") == 1, "not counted");
    state.value(Scope::shared, "reducer/skipped", int64_t{0});
    state.value(Scope::shared, "step", int64_t{i - 1});
    run.load(state);
    expect(run.hash() == before, "a skipped step changed the state");
    state.value(Scope::shared, "step", int64_t{i});
    run.load(state);
  }
  run.reducer().check_replicas();
}

using Make = std::function<Training()>;

// The state after 12 more steps, from a copy made after `stop`.
void expect_resumes(const Group& group, const Make& make, int stop, const std::string& what) {
  Training whole = make();
  for (int i = 0; i < stop; ++i) whole.step();
  MemoryState state(group.size());
  whole.save(state);
  Training resumed = make();
  resumed.load(state);
  expect(whole.hash() == resumed.hash(),
         fmt::format("{}: loading at {} lost something", what, stop));
  for (int i = 0; i < 12; ++i) whole.step(), resumed.step();
  expect(at::equal(whole.weights(), resumed.weights()), fmt::format("{}: weights, {}", what, stop));
  expect(whole.hash() == resumed.hash(), fmt::format("{}: state, {}", what, stop));
}

void resumed_run(const Group& group) {
  for (const int stop : {3, 8, 9, 30})
    expect_resumes(
        group, [&] { return Training(group, onebit(8), coded(), {}); }, stop, "1-bit");
}

// Two nodes of two ranks: replicas stay equal, a NaN leaves no trace, and a run resumes.
void nodes_run(const Group& group) {
  if (group.size() != 4) return;
  OptimOptions dgc, adamw;
  dgc.name = "dgc";
  using E = ExchangeOptions;
  const std::vector<std::pair<OptimOptions, ExchangeOptions>> settings = {
      {dgc, E{.codec = "topk", .density = 0.02, .hierarchy = true}},
      {adamw, E{.codec = "lowrank", .rank = 2, .hierarchy = true}},
      {adamw,
       E{.codec = "lgreco", .density = 0.02, .family = "topk", .every = 15, .hierarchy = true}},
      {adamw, E{.codec = "bf16", .hierarchy = true}}};
  for (const auto& [optim, exchange] : settings) {
    const std::string what = fmt::format("{} {} in 2 nodes", optim.name, exchange.codec);
    const Make make = [&] { return Training(group, optim, exchange, {}, at::kCPU, 2); };
    expect_resumes(group, make, 6, what);
    Training run = make();
    for (int i = 0; i < 6; ++i) {
      const at::Tensor before = run.weights();
      const StepResult r = run.step(i == 3 && group.rank() == 1);
      expect(r.committed == (i != 3), what + ": the wrong step was skipped");
      expect(r.committed || at::equal(before, run.weights()), what + ": a skipped step moved");
    }
    run.reducer().check_replicas();
    expect(run.weights().isfinite().all().item<bool>(), what + ": NaN stayed");
    expect((run.reducer().encodes() > 0) == exchange.compressed(), what + ": encodes");
  }
}

void diverging_replicas(const Group& group) {
  if (group.size() == 1) return;
  Training run(group, {}, {}, {});
  run.step();
  MemoryState state(group.size());
  run.save(state);
  std::vector<float> wrong(48, static_cast<float>(group.rank() == 1));
  state.tensor(Scope::shared, "model/b1", {DType::f32, {48}, bytes_of(wrong.data(), 48)});
  run.load(state);
  try {
    run.reducer().check_replicas();
    expect(false, "different replicas went unnoticed");
  } catch (const Error& e) {
    const std::string what = e.what();
    expect(e.code() == ExitCode::disagree, what);
    expect(what.find("'b1'") != std::string::npos, what);
    expect(what.find("rank(s) 1 ") != std::string::npos, what);
  }
}

void everything(const Group& group, const std::string& file) {
  dense_run(group, file);
  compressed_run(group);
  poisoned_run(group);
  resumed_run(group);
  nodes_run(group);
  diverging_replicas(group);
  dgc_runs(group);
  zero_one_runs(group);
  unused_on_one_rank(group);
}

int run(const std::vector<std::string>& arguments) {
  try {
    World world = resolve_world(current_environment());
    const auto timeout = std::chrono::seconds(60);
    const auto store = join(world, timeout);
    const Group group = make_group(world, store, {.timeout = timeout});
    if (arguments.size() == 2 && arguments[0] == "replicas")
      disturbed_replicas(group, arguments[1]);
    else if (arguments.size() == 3 && arguments[0] == "canaries")
      canaries(group, arguments[1], arguments[2]);
    else
      everything(group, arguments.empty() ? "/dev/null" : arguments[0]);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) {
  return terse::run({argv + 1, argv + argc});
}
