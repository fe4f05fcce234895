#include "trainer/bench/exchange/bench_exchange.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "base/error.h"
#include "comm/make_exchange.h"
#include "comm/reducer_thread.h"
#include "trainer/bench/core/pairs.h"

namespace terse {
namespace {

constexpr int64_t kLayer = int64_t{1} << 20;
constexpr int64_t kColumns = 1024;
constexpr const char* kBaseline = "exchange.bf16";

BucketPlan layer_plan(int64_t elements) {
  std::vector<SegmentSpec> layers;
  for (int64_t at = 0; at < elements; at += kLayer) {
    const int64_t size = std::min(kLayer, elements - at);
    const int64_t columns = size % kColumns == 0 ? kColumns : size;
    layers.push_back({fmt::format("layer{:03}", layers.size()), size / columns, columns});
  }
  return plan_buckets(layers, kLayer * static_cast<int64_t>(sizeof(float)));
}

// One of the exchanges that take turns.
class Contender {
 public:
  Contender(Group group, std::string name, const ExchangeOptions& options, const BucketPlan& plan)
      : name_(std::move(name)),
        group_(std::move(group)),
        exchange_(make_exchange(group_, options)),
        order_(pipeline_order(static_cast<int64_t>(plan.buckets.size()), exchange_->rounds())) {
    exchange_->attach(plan);
  }

  const std::string& name() const { return name_; }

  // Seconds that the slowest rank took.
  double average(const std::vector<at::Tensor>& messages, const std::vector<at::Tensor>& answers) {
    group_.barrier(name_);
    const double own = wall_seconds([&] {
      for (const ReducerItem& item : order_) run(item, messages, answers);
    });
    exchange_->commit();
    const std::vector<double> all = group_.all_gather_value(own, name_);
    return *std::max_element(all.begin(), all.end());
  }

 private:
  void run(const ReducerItem& item, const std::vector<at::Tensor>& messages,
           const std::vector<at::Tensor>& answers) {
    const auto b = static_cast<size_t>(item.bucket);
    if (item.round == 0) return exchange_->start(item.bucket, messages[b]);
    if (item.round < exchange_->rounds()) return exchange_->advance(item.bucket, item.round);
    exchange_->finish(item.bucket, answers[b]);
  }

  std::string name_;
  Group group_;
  std::unique_ptr<Exchange> exchange_;
  std::vector<ReducerItem> order_;
};

std::vector<std::unique_ptr<Contender>> contenders(const Group& group, const BucketPlan& plan) {
  std::vector<std::unique_ptr<Contender>> all;
  for (const auto& [name, codec] :
       {std::pair("bf16", "bf16"), std::pair("fp32", "fp32"), std::pair("onebit", "onebit"),
        std::pair("int4", "bits"), std::pair("topk", "topk"), std::pair("lowrank", "lowrank")}) {
    ExchangeOptions options;
    options.codec = codec;
    all.push_back(
        std::make_unique<Contender>(group, fmt::format("exchange.{}", name), options, plan));
  }
  return all;
}

// Gradients are nearer to Laplace's distribution than to the normal one.
std::vector<at::Tensor> laplace(const BucketPlan& plan, int rank) {
  at::Generator generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(rank));
  std::vector<at::Tensor> messages;
  for (const Bucket& bucket : plan.buckets) {
    at::Tensor uniform = at::rand({bucket.size}, generator) - 0.5;
    messages.push_back(uniform.sign() * at::log1p(-1.999f * uniform.abs()) * -1e-3f);
  }
  return messages;
}

}  // namespace

std::vector<BenchResult> bench_exchange(const Group& group, const BenchExchangeOptions& options) {
  const at::NoGradGuard no_grad;
  const BucketPlan plan = layer_plan(options.elements);
  const std::vector<at::Tensor> messages = laplace(plan, group.rank());
  std::vector<at::Tensor> answers;
  for (const at::Tensor& message : messages) answers.push_back(at::zeros_like(message));
  const auto all = contenders(group, plan);
  for (const auto& contender : all) contender->average(messages, answers);
  std::vector<std::vector<double>> seconds(all.size()), ratios(all.size());
  for (int round = 0; round < (options.quick ? 3 : 5); ++round) {
    for (size_t k = 0; k < all.size(); ++k) {
      seconds[k].push_back(all[k]->average(messages, answers));
      ratios[k].push_back(seconds[k].back() / seconds[0].back());
    }
  }
  std::vector<BenchResult> results;
  for (size_t k = 0; k < all.size(); ++k)
    results.push_back(
        {all[k]->name(), 1e3 * median(seconds[k]), "ms", kBaseline, median(ratios[k]), true});
  return results;
}

}  // namespace terse
