// Run by steady_test.cc on 1 to 4 ranks: averages with every exchange and watches what is allocated
// from the fourth step on; then whole steps. The allocators are replaced (watch.h), so nothing else
// may run here.
#include <cstdio>
#include <cstdlib>

#include "comm/make_exchange.h"
#include "launch/rendezvous.h"
#include "tests/comm/exchange/ranks.h"
#include "tests/comm/steady/steps.h"
#include "tests/comm/steady/watch.h"

namespace terse::testing {
namespace {

// Every buffer of it, a quarter of a chunk included, is far above 4,096 bytes (watch.h).
BucketPlan large_plan() {
  BucketPlan plan;
  for (int64_t b = 0; b < 2; ++b) {
    Bucket bucket{b, 0, {}};
    for (const auto& [rows, columns] : {std::pair(300, 400), std::pair(1, 400), {250, 320}}) {
      const int64_t size = rows * columns;
      const std::string name = fmt::format("b{}.s{}", b, bucket.segments.size());
      bucket.segments.push_back({name, bucket.size, size, rows, columns, true});
      bucket.size += size;
    }
    plan.buckets.push_back(std::move(bucket));
  }
  return plan;
}

void check_steady(Group& group, const ExchangeOptions& options, int64_t ranks_per_node = 1) {
  const BucketPlan plan = large_plan();
  const auto exchange = make_exchange(group, options, at::kCPU, ranks_per_node);
  exchange->attach(plan);
  std::vector<std::vector<at::Tensor>> messages(11);
  for (size_t call = 0; call < messages.size(); ++call)
    for (const Bucket& bucket : plan.buckets)
      messages[call].push_back(host_message(bucket.size, group.rank(), static_cast<int64_t>(call)));
  std::vector<at::Tensor> answers;
  for (const Bucket& bucket : plan.buckets) answers.push_back(at::empty({bucket.size}, at::kFloat));
  forget_allocations();
  for (size_t call = 0; call < messages.size(); ++call) {
    watch(call >= 3);
    // Both buckets are under way at once, as in training.
    for (int round = 0; round <= exchange->rounds(); ++round)
      for (const Bucket& bucket : plan.buckets) {
        const auto b = static_cast<size_t>(bucket.index);
        if (round == 0)
          exchange->start(bucket.index, messages[call][b]);
        else if (round < exchange->rounds())
          exchange->advance(bucket.index, round);
        else
          exchange->finish(bucket.index, answers[b]);
      }
    exchange->commit();
    watch(false);
  }
  const std::string what = fmt::format("{} {} {} {} {}", exchange->name(), options.feedback,
                                       options.residual, options.sparse, options.values);
  std::printf("%s: %.0f small objects an average\n", what.c_str(), small_objects() / 16);
  expect_no_buffers(what);
}

void run() {
  // c10d's log of collectives, a vector that grows.
  ::setenv("TORCH_FR_BUFFER_SIZE", "0", 1);
  replace_allocators();
  World world = resolve_world(current_environment());
  const auto store = join(world, std::chrono::seconds(60));
  Group group = make_group(world, store, {});
  using E = ExchangeOptions;
  const std::vector<ExchangeOptions> all = {
      {},
      E{.codec = "bf16"},
      E{.codec = "onebit"},
      E{.codec = "onebit", .block = 64, .residual = "bf16"},
      E{.codec = "bits"},
      E{.codec = "bits", .rounding = "stochastic"},
      E{.codec = "topk", .density = 0.25, .sparse = "gather"},
      E{.codec = "topk", .density = 0.25, .sparse = "scatter", .values = "bf16"},
      E{.codec = "topk", .density = 0.25, .sparse = "gather", .feedback = "ef21"},
      E{.codec = "topk", .density = 0.25, .sparse = "scatter", .feedback = "econtrol"},
      E{.codec = "lowrank", .rank = 4},
      E{.codec = "lgreco", .family = "lowrank"},
      E{.codec = "lgreco", .density = 0.1, .family = "topk"}};
  for (ExchangeOptions options : all) {
    check_steady(group, options);
    if (group.size() != 4) continue;
    options.hierarchy = true;
    check_steady(group, options, 2);
  }
  check_steady_steps(group);
  group.barrier("end");
}

}  // namespace
}  // namespace terse::testing

int main() {
  try {
    terse::testing::run();
    return 0;
  } catch (const std::exception& error) {
    std::printf("failed: %s\n", error.what());
    return 1;
  }
}
