#include <numeric>

#include "base/half.h"
#include "comm/dense_exchange.h"
#include "comm/make_exchange.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

const std::vector<std::vector<int64_t>> kBuckets = {{1}, {7, 1}, {64}, {1000, 3, 30000}, {70001}};

float rounded(bool bf16, float x) {
  return bf16 ? bf16_to_float(bf16_from_float(x)) : x;
}

// The documented arithmetic, element by element, from all ranks' inputs.
at::Tensor expected(int64_t n, int64_t ranks, int64_t call, bool bf16) {
  at::Tensor sum;
  std::vector<at::Tensor> inputs;
  for (int64_t r = 0; r < ranks; ++r) inputs.push_back(host_message(n, r, call));
  at::Tensor out = at::empty({n}, at::kFloat);
  for (int64_t i = 0; i < n; ++i) {
    float total = rounded(bf16, inputs[0].const_data_ptr<float>()[i]);
    for (size_t r = 1; r < inputs.size(); ++r)
      total += rounded(bf16, inputs[r].const_data_ptr<float>()[i]);
    out.mutable_data_ptr<float>()[i] = rounded(bf16, total * (1.0f / static_cast<float>(ranks)));
  }
  return out;
}

void check_wire(Group& group, bool bf16) {
  auto exchange =
      std::make_unique<DenseExchange>(group, DenseOptions{.bf16 = bf16}, exchange_device);
  const BucketPlan plan = plan_of(kBuckets);
  exchange->attach(plan);
  for (const Bucket& bucket : plan.buckets) {
    const int64_t before = group.wire_bytes().total();
    const at::Tensor in = message(bucket.size, group.rank(), bucket.index);
    const at::Tensor out = average(*exchange, bucket.index, in);
    expect(group.wire_bytes().total() - before == exchange->wire_bytes(bucket.index),
           "dense wire bytes");
    expect(at::equal(out.cpu(), expected(bucket.size, group.size(), bucket.index, bf16)),
           fmt::format("dense average of {} elements, bf16 {}", bucket.size, bf16));
  }
}

void check_all_reduce(Group& group) {
  auto exchange = make_exchange(group, {.backend_all_reduce = true}, exchange_device);
  expect(exchange->name() == "all-reduce fp32" && exchange->rounds() == 1, "all-reduce");
  const BucketPlan plan = plan_of(kBuckets);
  exchange->attach(plan);
  for (const Bucket& bucket : plan.buckets) {
    const at::Tensor in = message(bucket.size, group.rank(), bucket.index);
    const at::Tensor out = average(*exchange, bucket.index, in);
    // The order of at most 4 terms differs: 3 roundings of 2^-24 of numbers below 1.25.
    expect(
        at::allclose(out.cpu(), expected(bucket.size, group.size(), bucket.index, false), 0, 3e-7),
        "all-reduce average");
    expect_replicas(group, out, "all-reduce");
  }
}

}  // namespace

void check_dense(Group& group) {
  check_wire(group, false);
  check_wire(group, true);
  check_all_reduce(group);
}

}  // namespace terse::testing
