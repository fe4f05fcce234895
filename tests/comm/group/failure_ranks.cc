// Ranks that die, hang, leave or come late; started by group_test.cc.
#include <ATen/ATen.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "base/error.h"
#include "comm/group.h"
#include "tests/comm/group/ranks.h"

namespace terse {
namespace {

double processor_seconds() {
  timespec t{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

// Rank 1 misbehaves while the others are in a collective.
void misbehave(const World& world, const StorePtr& store, const std::string& how,
               const std::string& backend) {
  GroupOptions options;
  options.backend = parse_backend(backend);
  options.timeout = std::chrono::seconds(how == "sleep" ? 3 : 20);
  options.heartbeat_limit = std::chrono::seconds(3);
  Group group = make_group(world, store, options);
  at::Tensor tensor = at::ones({1000});
  group.all_reduce(tensor, "healthy").wait();
  if (world.rank == 1) {
    if (how == "die") ::raise(SIGKILL);
    if (how == "stop") ::raise(SIGSTOP);
    if (how == "leave") return;
    if (how == "throw") fail(ExitCode::non_finite, "an error of rank 1 alone");
    if (how == "sleep") std::this_thread::sleep_for(std::chrono::seconds(6));
  }
  try {
    group.all_reduce(tensor, "bucket 7").wait();
  } catch (const Error&) {
    const auto dead = group.dead_peers();
    std::printf("dead %s\n", fmt::format("{}", fmt::join(dead, ",")).c_str());
    try {
      group.barrier();
    } catch (const Error& again) {
      std::printf("again %d\n", static_cast<int>(again.code()));
    }
    throw;
  }
}

// Nothing is under way that could break: only listening finds out.
void silent(const World& world, const StorePtr& store) {
  GroupOptions options{.backend = BackendKind::gloo};
  options.heartbeat_limit = std::chrono::seconds(60);  // the watch itself would come too late
  Group group = make_group(world, store, options);
  group.barrier("healthy");
  expect(group.dead_peers(std::chrono::seconds(5)).empty(), "all live");
  group.barrier("all have listened");
  if (world.rank == 1) {
    store->set("dying", "now");
    ::raise(SIGKILL);
  }
  store->get("dying");
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // SIGKILL is not instantaneous
  std::printf("dead %s\n",
              fmt::format("{}", fmt::join(group.dead_peers(std::chrono::seconds(5)), ",")).c_str());
  std::fflush(stdout);
  store->add("done", 1);  // the store ends with rank 0
  while (world.rank == 0 && store->add("done", 0) < world.size - 1)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  ::_exit(0);  // the Group's farewell would wait for the dead
}

// A thread that polls without a pause burns a processor while it waits, all of which the compute
// threads would want; one that sleeps 20 to 200 us between polls of a few us burns a tenth. Half
// tells the two apart. Processor time, not wall time: a busy machine can only make it smaller.
void wait_for_late_rank(const World& world, const StorePtr& store, const std::string& backend) {
  Group group = make_group(world, store, {.backend = parse_backend(backend)});
  at::Tensor tensor = at::ones({1000});
  group.all_reduce(tensor, "healthy").wait();
  if (world.rank == 1) std::this_thread::sleep_for(std::chrono::seconds(1));
  const auto begin = std::chrono::steady_clock::now();
  const double before = processor_seconds();
  group.all_reduce(tensor, "late").wait();
  const double used = processor_seconds() - before;
  const std::chrono::duration<double> waited = std::chrono::steady_clock::now() - begin;
  std::printf("waited %.3f s, used %.3f s\n", waited.count(), used);
  expect(world.rank == 1 || used < 0.5 * waited.count(),
         fmt::format("{:.3f} s of a processor in {:.3f} s of waiting", used, waited.count()));
}

}  // namespace terse
