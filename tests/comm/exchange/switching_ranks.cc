#include <ATen/ATen.h>

#include "base/state.h"
#include "comm/hierarchical_exchange.h"
#include "comm/make_exchange.h"
#include "comm/select_exchange.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

using Make = std::unique_ptr<Exchange> (*)(Group, const ExchangeOptions&);

std::unique_ptr<Exchange> make_here(Group group, const ExchangeOptions& options) {
  return make_exchange(std::move(group), options, exchange_device);
}

std::unique_ptr<Exchange> make_between(Group group, const ExchangeOptions& options) {
  return make_exchange_between(std::move(group), options);
}

std::vector<SelectCandidate> every_choice(const Group& group, Make make) {
  const auto choice = [&](const std::string& name, const ExchangeOptions& options) {
    return SelectCandidate{
        .name = name, .lossy = options.compressed(), .drops = options.codec == "topk", .make = [=] {
          return make(group, options);
        }};
  };
  return {choice("fp32", {}),
          choice("onebit", {.codec = "onebit", .block = 64}),
          choice("bits", {.codec = "bits"}),
          choice("gather", {.codec = "topk", .density = 0.05, .sparse = "gather"}),
          choice("scatter", {.codec = "topk", .density = 0.05, .sparse = "scatter"}),
          choice("lowrank", {.codec = "lowrank", .rank = 2})};
}

// Takes the next selection of a list at every commit of something.
class Switching final : public SelectExchange {
 public:
  Switching(const Group& group, std::vector<std::string> selections, Make make)
      : SelectExchange(group, every_choice(group, make)), selections_(std::move(selections)) {}
  void attach(const BucketPlan& plan) override {
    SelectExchange::attach(plan);
    follow();
  }
  void start(int64_t bucket, const at::Tensor& message) override {
    SelectExchange::start(bucket, message);
    started_ = true;
  }
  void rollback() override {
    SelectExchange::rollback();
    started_ = false;
  }
  void commit() override {
    SelectExchange::commit();
    if (!std::exchange(started_, false)) return;
    ++commits_;
    follow();
  }
  void save(StateWriter& state) const override {
    SelectExchange::save(state);
    state.value(Scope::shared, "test/commits", commits_);
  }
  void load(const StateReader& state) override {
    commits_ = state.require_integer(Scope::shared, "test/commits");
    SelectExchange::load(state);
  }

 private:
  void follow() {
    const std::string& text = selections_[static_cast<size_t>(commits_) % selections_.size()];
    select(parse_selection(text));
    expect(selection_text() == text, "chose " + selection_text() + ", not " + text);
  }

  std::vector<std::string> selections_;
  int64_t commits_ = 0;
  bool started_ = false;
};

}  // namespace

std::unique_ptr<Exchange> make_switching(Group& group, const std::vector<std::string>& selections) {
  return std::make_unique<Switching>(group, selections, make_here);
}

std::unique_ptr<Exchange> make_switching_between(Group& group, int64_t ranks_per_node,
                                                 const std::vector<std::string>& selections) {
  return std::make_unique<HierarchicalExchange>(
      group, ranks_per_node, Slicing::segments, [&](const Group& between) {
        return std::make_unique<Switching>(between, selections, make_between);
      });
}

// codec = "auto" over 2 nodes of 2 ranks: first as told, then as measured.
void check_auto_between(Group& group) {
  const BucketPlan plan = plan_of({{4096, 300}, {2048}});
  ExchangeOptions options{.codec = "auto",
                          .candidates = {"onebit", "topk", "lowrank"},
                          .every = 1000,
                          .hierarchy = true};
  const auto step = [&](Exchange& exchange, int64_t number) {
    const bool quiet = exchange.decider()->quiet(number);
    for (const Bucket& bucket : plan.buckets)
      expect_replicas(group, average(exchange, bucket.index, message(bucket.size, group.rank(), 0)),
                      fmt::format("auto between nodes, step {}", number));
    // Any rank may see reason to look; rank 0's vote counts.
    const int wants = exchange.decider()->due(number) ? 1 : 0;
    const bool due = group.all_gather_value(wants)[0] == 1;
    exchange.commit();
    exchange.decider()->observe(StepTimes{.step = number,
                                          .quiet = quiet,
                                          .forward = 0.03,
                                          .backward = 0.06,
                                          .ready = {0.02, 0.06},
                                          .exposed = 0.01,
                                          .apply = 0.01 * (1 + group.rank())});
    if (due) exchange.decider()->decide(number + 1);
  };
  const auto decisions = [&](Exchange& exchange, int64_t steps) {
    exchange.attach(plan);
    std::string all;
    for (int64_t s = 1; s <= steps; ++s) {
      step(exchange, s);
      for (const ExchangeDecision& made : exchange.take_decisions())
        all += fmt::format("{}: {}; ", s + 1, made.value);
    }
    return all;
  };
  const auto measured = make_exchange(group, options, exchange_device, 2);
  const std::string chosen = decisions(*measured, 8);
  expect(chosen.starts_with("7: "), "nothing was decided: " + chosen);
  for (const auto& theirs : group.all_gather_bytes(std::as_bytes(std::span(chosen))))
    expect(std::ranges::equal(theirs, std::as_bytes(std::span(chosen))), "ranks chose differently");
  options.replay = "told";
  options.replayed = {{2, "onebit"}, {4, "fp32*1 lowrank*1"}, {5, "topk*1 fp32*1"}};
  const auto told = make_exchange(group, options, exchange_device, 2);
  const std::string followed = decisions(*told, 6);
  expect(followed == "2: onebit; 4: fp32*1 lowrank*1; 5: topk*1 fp32*1; ", "did " + followed);
  expect(told->encodes() > 0 && told->selects(), "nothing was compressed between the nodes");
}

}  // namespace terse::testing
