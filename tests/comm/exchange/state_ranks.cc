#include "base/error.h"
#include "base/state.h"
#include "comm/make_exchange.h"
#include "comm/residual.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

// Save in the middle, load into a new exchange, go on: bitwise as without.
void check_resume(Group& group) {
  const BucketPlan plan = plan_of({{1000, 300}, {64}});
  auto straight = make_exchange(group, {.codec = "onebit"}, exchange_device);
  straight->attach(plan);
  MemoryState state(group.size());
  at::Tensor answer, resumed_answer;
  for (int call = 0; call < 6; ++call) {
    if (call == 3) straight->save(state);
    for (int64_t b = 0; b < 2; ++b)
      answer = average(*straight, b,
                       message(plan.buckets[static_cast<size_t>(b)].size, group.rank(), call));
    straight->commit();
  }
  auto resumed = make_exchange(group, {.codec = "onebit"}, exchange_device);
  resumed->attach(plan);
  resumed->load(state);
  for (int call = 3; call < 6; ++call) {
    for (int64_t b = 0; b < 2; ++b)
      resumed_answer = average(
          *resumed, b, message(plan.buckets[static_cast<size_t>(b)].size, group.rank(), call));
    resumed->commit();
  }
  expect(at::equal(answer, resumed_answer), "resumed run differs");
}

}  // namespace

void check_state(Group& group) {
  check_resume(group);
}

}  // namespace terse::testing
