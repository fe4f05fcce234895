#include <ATen/ATen.h>

#include "base/state.h"
#include "comm/make_exchange.h"
#include "comm/select_exchange.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

SelectCandidate choice_of(Group& group, const std::string& name, const ExchangeOptions& options) {
  return {.name = name,
          .lossy = options.compressed(),
          .drops = options.codec == "topk",
          .make = [&group, options] { return make_exchange(group, options, exchange_device); }};
}

std::vector<SelectCandidate> every_choice(Group& group) {
  return {choice_of(group, "fp32", {}),
          choice_of(group, "onebit", {.codec = "onebit", .block = 64}),
          choice_of(group, "bits", {.codec = "bits"}),
          choice_of(group, "gather", {.codec = "topk", .density = 0.05, .sparse = "gather"}),
          choice_of(group, "scatter", {.codec = "topk", .density = 0.05, .sparse = "scatter"}),
          choice_of(group, "lowrank", {.codec = "lowrank", .rank = 2})};
}

// Takes the next selection of a list at every commit of something.
class Switching final : public SelectExchange {
 public:
  Switching(Group& group, std::vector<std::string> selections)
      : SelectExchange(group, every_choice(group)), selections_(std::move(selections)) {}
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
  return std::make_unique<Switching>(group, selections);
}

}  // namespace terse::testing
