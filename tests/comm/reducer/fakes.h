// An optimizer and an exchange that write down how the Reducer calls them.
#pragma once
#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "comm/exchange.h"
#include "comm/optimizer.h"
#include "comm/sums.h"

namespace terse {

struct Log {
  std::vector<std::string> lines;
  void add(std::string line) { lines.push_back(std::move(line)); }
  int64_t count(const std::string& prefix) const {
    int64_t n = 0;
    for (const std::string& line : lines) n += line.starts_with(prefix) ? 1 : 0;
    return n;
  }
};

// Decides when and what the test says.
struct FakeDecider final : Decider {
  explicit FakeDecider(std::shared_ptr<Log> l) : log(std::move(l)) {}
  bool quiet(int64_t step) const override { return step == quiet_at; }
  bool due(int64_t step) const override { return step == due_at; }
  void observe(const StepTimes& t) override { times.push_back(t); }
  void decide(int64_t first_step) override {
    log->add(fmt::format("decide from {}", first_step));
    compressing = !compressing;
  }
  bool compresses() const override { return compressing; }

  std::shared_ptr<Log> log;
  int64_t quiet_at = -1, due_at = -1;
  bool compressing = false;
  std::vector<StepTimes> times;
};

// Hands the message back unchanged, two rounds.
class EchoExchange final : public Exchange {
 public:
  EchoExchange(std::string name, std::shared_ptr<Log> log)
      : name_(std::move(name)), log_(std::move(log)) {}
  std::string name() const override { return name_; }
  void attach(const BucketPlan& plan) override { kept_.resize(plan.buckets.size()); }
  int rounds() const override { return 2; }
  void start(int64_t bucket, const at::Tensor& message) override {
    if (fail_at == bucket) fail(ExitCode::peer_lost, "rank 1 is gone");
    thread_of_start.store(std::this_thread::get_id());
    kept_[static_cast<size_t>(bucket)] = message.clone();
    log_->add(fmt::format("{} start {}", name_, bucket));
  }
  void advance(int64_t bucket, int round) override {
    log_->add(fmt::format("{} advance {} {}", name_, bucket, round));
  }
  void finish(int64_t bucket, at::Tensor answer) override {
    log_->add(fmt::format("{} finish {}", name_, bucket));
    answer.copy_(kept_[static_cast<size_t>(bucket)]);
    if (spoil) answer[0] = spoil;
  }
  int64_t wire_bytes(int64_t) const override { return 0; }
  int64_t encodes() const override { return log_->count(name_ + " start"); }
  void commit() override { log_->add(name_ + " commit"); }
  void rollback() override { log_->add(name_ + " rollback"); }
  void reset_residuals() override { log_->add(name_ + " reset"); }
  Decider* decider() override { return fake_decider.get(); }

  std::unique_ptr<FakeDecider> fake_decider;
  int64_t fail_at = -1;
  double spoil = 0;
  std::atomic<std::thread::id> thread_of_start;

 private:
  std::string name_;
  std::shared_ptr<Log> log_;
  std::vector<at::Tensor> kept_;
};

// Plain gradient descent; its plan is what the test says.
class Descent final : public Optimizer {
 public:
  explicit Descent(std::shared_ptr<Log> log) : log_(std::move(log)) {}
  std::string name() const override { return "descent"; }
  void attach(const BucketPlan&, std::span<const BucketTensors> tensors) override {
    tensors_.assign(tensors.begin(), tensors.end());
  }
  PhasePlan next_plan(int64_t step) override { return plan(step); }
  double message(const StepContext& c, int64_t bucket, at::Tensor out) override {
    const at::Tensor& gradient = tensors_[static_cast<size_t>(bucket)].gradient;
    const double squares = sum_of_squares(gradient);
    if (!out.is_same(gradient)) out.copy_(gradient);
    out.mul_(c.message_scale);
    log_->add(fmt::format("message {} scale {:.4g}", bucket, c.message_scale));
    return squares;
  }
  void apply(const StepContext& c, int64_t bucket, at::Tensor& answer) override {
    tensors_[static_cast<size_t>(bucket)].value.sub_(answer * c.answer_scale * c.learning_rate);
    log_->add(fmt::format("apply {}", bucket));
  }
  void commit(const StepContext&, const PhasePlan&) override { log_->add("commit"); }
  void allow_compression(bool allowed) override { log_->add(allowed ? "allowed" : "held"); }
  void rollback() override { log_->add("rollback"); }
  void save(StateWriter&) const override {}
  void load(const StateReader&) override {}

  std::function<PhasePlan(int64_t)> plan = [](int64_t) { return PhasePlan{}; };

 private:
  std::shared_ptr<Log> log_;
  std::vector<BucketTensors> tensors_;
};

}  // namespace terse
