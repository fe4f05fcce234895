#include <cstdio>
#include <thread>

#include "base/error.h"
#include "comm/make_exchange.h"
#include "comm/two_stage_exchange.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

const std::vector<std::vector<int64_t>> kBuckets = {{5}, {1000, 3, 3000}, {64, 64}, {20000}};

std::unique_ptr<TwoStageExchange> onebit(Group group, const std::string& scale, int64_t block) {
  auto exchange = make_exchange(
      std::move(group), {.codec = "onebit", .scale = scale, .block = block}, exchange_device);
  return std::unique_ptr<TwoStageExchange>(dynamic_cast<TwoStageExchange*>(exchange.release()));
}

// The mean over ranks, in fp64.
at::Tensor mean_over_ranks(Group& group, const at::Tensor& own) {
  at::Tensor all = at::empty({group.size(), own.numel()}, own.options());
  group.all_gather(all.view({-1}), own.contiguous()).wait();
  return all.to(at::kDouble).mean(0);
}

// The chunks of all ranks back to back, in fp64.
at::Tensor joined(Group& group, int64_t n, const at::Tensor& own) {
  at::Tensor all = at::empty({n}, own.options());
  std::vector<int64_t> sizes;
  for (int64_t j = 0; j < group.size(); ++j) sizes.push_back(chunk_of(n, group.size(), j).size());
  group.all_gather_v(all, own.contiguous(), sizes).wait();
  return all.to(at::kDouble);
}

// Nothing is lost: answers + mean worker residual + server residual = mean inputs.
void check_ledger(Group& group, const std::string& scale, int64_t block) {
  auto exchange = onebit(group, scale, block);
  const BucketPlan plan = plan_of(kBuckets);
  exchange->attach(plan);
  std::vector<at::Tensor> sent, given;
  for (const Bucket& bucket : plan.buckets) {
    sent.push_back(at::zeros({bucket.size}, at::device(exchange_device).dtype(at::kDouble)));
    given.push_back(at::zeros_like(sent.back()));
  }
  const int calls = scale == "rms" && block == 0 ? 200 : 20;
  for (int call = 0; call < calls; ++call) {
    if (group.size() > 1 && call % 7 == group.rank())  // a rank that is late changes nothing
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    for (const Bucket& bucket : plan.buckets) {
      const auto b = static_cast<size_t>(bucket.index);
      const at::Tensor in = message(bucket.size, group.rank(), call);
      const at::Tensor answer = average(*exchange, bucket.index, in);
      expect_replicas(group, answer, "answer");
      sent[b] += answer.to(at::kDouble);
      given[b] += mean_over_ranks(group, in);
    }
    exchange->commit();
  }
  for (const Bucket& bucket : plan.buckets) {
    const auto b = static_cast<size_t>(bucket.index);
    const at::Tensor total = sent[b] + mean_over_ranks(group, exchange->worker_residual(b)) +
                             joined(group, bucket.size, exchange->server_residual(b));
    const double error = ((total - given[b]).norm() / given[b].norm()).item<double>();
    // A few roundings of 2^-24 a call of numbers up to a few times the answer.
    expect(error < 1e-5, fmt::format("ledger of bucket {} is off by {}", bucket.index, error));
  }
  expect(exchange->encodes() == calls * 4, "encodes are counted");
  expect(exchange->residual_norm() > 0, "residual norm");
}

void check_bytes(Group& group) {
  auto exchange = onebit(group, "rms", 0);
  const BucketPlan plan = plan_of(kBuckets);
  exchange->attach(plan);
  for (const Bucket& bucket : plan.buckets) {
    const int64_t before = group.wire_bytes().total();
    average(*exchange, bucket.index, message(bucket.size, group.rank(), 0));
    const int64_t sent = group.wire_bytes().total() - before;
    expect(sent == exchange->wire_bytes(bucket.index), "two-stage wire bytes");
    expect(group.size() > 1 || sent == 0, "one rank sends nothing");
  }
}

// rollback() makes a step as if it had not been; without it the residual moves on.
void check_rollback(Group& group) {
  auto exchange = onebit(group, "rms", 0);
  exchange->attach(plan_of({{3000}}));
  average(*exchange, 0, message(3000, group.rank(), 0));
  exchange->commit();
  const at::Tensor before = exchange->worker_residual(0).clone();
  const at::Tensor first = average(*exchange, 0, message(3000, group.rank(), 1));
  expect(at::equal(before, exchange->worker_residual(0)), "residual moved before commit");
  exchange->rollback();
  exchange->commit();
  expect(at::equal(before, exchange->worker_residual(0)), "residual moved after rollback");
  const at::Tensor again = average(*exchange, 0, message(3000, group.rank(), 1));
  expect(at::equal(first, again), "the same step again");
  exchange->commit();
  expect(!at::equal(before, exchange->worker_residual(0)), "residual did not move at commit");
  exchange->reset_residuals();
  expect(exchange->residual_norm() == 0, "a new epoch starts at zero");
}

// Dead coordinates: whatever the message holds there, answer and residuals stay 0 and the others'
// answers do not change.
void check_live(Group& group) {
  constexpr int64_t kSize = 3000;
  at::Tensor words = at::full({(kSize + 63) / 64}, -1, at::kLong);
  at::Tensor alive = at::ones({kSize}, at::kBool);
  for (int64_t i = 0; i < kSize; i += 5) {
    words.mutable_data_ptr<int64_t>()[i / 64] &= ~(int64_t{1} << (i % 64));
    alive[i] = false;
  }
  words = words.to(exchange_device);
  alive = alive.to(exchange_device);
  std::vector<at::Tensor> answers;
  for (const float poison : {0.0f, 1e6f}) {
    auto exchange = onebit(group, "rms", 0);
    exchange->attach(plan_of({{1000, 2000}}));
    exchange->set_live(0, words);
    at::Tensor answer;
    for (int call = 0; call < 3; ++call) {
      const at::Tensor in = at::where(alive, message(kSize, group.rank(), call),
                                      at::full({kSize}, poison, alive.options().dtype(at::kFloat)));
      answer = average(*exchange, 0, in);
      exchange->commit();
    }
    expect(answer.masked_select(~alive).abs().max().item<float>() == 0, "dead answer");
    expect(exchange->worker_residual(0).masked_select(~alive).abs().max().item<float>() == 0,
           "dead residual");
    answers.push_back(answer);
  }
  expect(at::equal(answers[0], answers[1]), "a dead coordinate took part");
}

// A NaN on one rank reaches every rank's answer, and leaves with the rollback.
void check_nan(Group& group) {
  auto exchange = onebit(group, "rms", 0);
  exchange->attach(plan_of({{500}}));
  at::Tensor in = message(500, group.rank(), 0);
  if (group.rank() == group.size() - 1) in[7] = std::nanf("");
  const at::Tensor answer = average(*exchange, 0, in);
  expect(answer.isnan().any().item<bool>(), "NaN vanished");
  expect_replicas(group, answer.isnan().contiguous(), "where NaN is");
  expect(!exchange->finite(0, answer), "NaN taken for finite");
  exchange->rollback();
  const at::Tensor next = average(*exchange, 0, message(500, group.rank(), 1));
  expect(next.isfinite().all().item<bool>(), "NaN stayed");
  expect(exchange->finite(0, next), "finite numbers taken for none");
}

// Finite messages whose sum over the ranks is not: only the owner of a chunk sees it.
void check_overflow(Group& group) {
  if (group.size() < 2) return;
  auto exchange = onebit(group, "l1", 0);
  exchange->attach(plan_of({{500}}));
  const at::Tensor huge = at::full({500}, 3e38, message(500, 0, 0).options());
  const at::Tensor answer = average(*exchange, 0, huge);
  expect(answer.isfinite().all().item<bool>() == exchange->finite(0, answer), "overflow");
  expect(!exchange->finite(0, answer), "an infinite sum taken for finite");
}

}  // namespace

void check_two_stage(Group& group) {
  for (const std::string scale : {"rms", "l1"})
    for (const int64_t block : {0, 1024}) check_ledger(group, scale, block);
  check_bytes(group);
  check_rollback(group);
  check_live(group);
  check_nan(group);
  check_overflow(group);
}

namespace {

uint64_t transport_hash(Group& group, const std::vector<std::string>& codecs) {
  uint64_t hash = 0;
  for (const std::string& codec : codecs) {
    auto exchange = make_exchange(group, {.codec = codec}, exchange_device);
    const BucketPlan plan = plan_of(kBuckets);
    exchange->attach(plan);
    for (int call = 0; call < 5; ++call) {
      for (const Bucket& bucket : plan.buckets)
        hash = hash * 31 + bytes_hash(average(*exchange, bucket.index,
                                              message(bucket.size, group.rank(), call)));
      exchange->commit();
    }
  }
  return hash;
}

}  // namespace

void print_transport_hash(Group& group) {
  const auto print = [](const char* name, uint64_t hash) {
    std::printf("%s %016llx\n", name, static_cast<unsigned long long>(hash));
  };
  print("portable", transport_hash(group, {"fp32", "bf16", "onebit"}));
  if (exchange_device.is_cpu())
    print("hash", transport_hash(group, {"fp32", "bf16", "onebit", "bits", "topk", "lowrank"}));
}

}  // namespace terse::testing
