// A tiny network trained by a real Reducer: the same start and the same global batch of a step,
// whatever the number of ranks and the device. Saving and loading work on the CPU alone.
#pragma once
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/checksum.h"
#include "base/state.h"
#include "comm/reducer.h"
#include "optim/make_reducer.h"
#include "optim/options.h"

namespace terse {

// Hash of everything a component saves.
class StateHash final : public StateWriter {
 public:
  void tensor(Scope, std::string name, TensorView view) override {
    hash_.update(bytes_of(name.data(), static_cast<int64_t>(name.size())));
    hash_.update(view.data);
  }
  void value(Scope, std::string name, int64_t v) override { text(name + std::to_string(v)); }
  void value(Scope, std::string name, double v) override {
    text(name);
    hash_.update(bytes_of(&v, 1));
  }
  void value(Scope, std::string name, std::string v) override { text(name + v); }
  void keep(std::shared_ptr<void>) override {}
  uint64_t value() const { return hash_.value(); }

 private:
  void text(const std::string& s) {
    hash_.update(bytes_of(s.data(), static_cast<int64_t>(s.size())));
  }
  Checksum hash_;
};

struct TrainingSize {
  int64_t hidden = 48;
  double learning_rate = 1e-2;
};

class Training {
 public:
  Training(const Group& group, const OptimOptions& optim, const ExchangeOptions& exchange,
           ReducerOptions reducer, at::Device device = at::kCPU, int64_t ranks_per_node = 1,
           const TrainingSize& size = {})
      : group_(group), device_(device), learning_rate_(size.learning_rate) {
    at::manual_seed(7);
    embed_ = parameter("embed", {64, 32}, false);
    w1_ = parameter("w1", {size.hidden, 32}, true);
    b1_ = parameter("b1", {size.hidden}, false);
    w2_ = parameter("w2", {1, size.hidden}, true);
    reducer.bucket_bytes = 2048 * 4;
    reducer_.reset(new Reducer(make_reducer(
        group, parameters_, optim, exchange,
        {.steps = 1000, .device = device, .ranks_per_node = ranks_per_node}, reducer)));
  }

  // `poison`: this rank's gradient becomes NaN. `after_backward`: gradients are final then.
  StepResult step(bool poison = false, const std::function<void()>& after_backward = {}) {
    ++step_;
    reducer_->begin(step_, learning_rate_);
    reducer_->last_micro_batch();
    at::Tensor l = loss();
    if (poison) l = l * std::numeric_limits<double>::quiet_NaN();
    l.backward();
    if (after_backward) after_backward();
    return reducer_->finish(poison ? 0.0 : l.item<double>());
  }
  Reducer& reducer() { return *reducer_; }
  at::Tensor weights() const {
    std::vector<at::Tensor> all;
    for (const Parameter& p : parameters_) all.push_back(p.value.detach().flatten());
    return at::cat(all).cpu().clone();
  }
  const std::vector<Parameter>& parameters() const { return parameters_; }
  // This rank's gradients in the order of weights().
  at::Tensor gradients() const {
    std::vector<at::Tensor> all;
    for (const Parameter& p : parameters_) all.push_back(p.value.grad().flatten());
    return at::cat(all).clone();
  }
  // Rows of the embedding that no batch touches.
  at::Tensor untouched() const { return embed_.detach().narrow(0, 60, 4).cpu().clone(); }
  void save(StateWriter& state) const {
    reducer_->save(state);
    state.value(Scope::shared, "step", step_);
    for (const Parameter& p : parameters_)
      state.tensor(Scope::shared, "model/" + p.name,
                   {DType::f32, p.value.sizes().vec(),
                    bytes_of(p.value.const_data_ptr<float>(), p.value.numel())});
  }
  void load(const StateReader& state) {
    step_ = state.require_integer(Scope::shared, "step");
    const at::NoGradGuard no_grad;
    for (Parameter& p : parameters_) {
      const TensorView v =
          state.require(Scope::shared, "model/" + p.name, DType::f32, p.value.sizes().vec());
      std::memcpy(p.value.mutable_data_ptr<float>(), v.data.data(), v.data.size());
    }
    reducer_->load(state);
  }
  uint64_t hash() const {
    StateHash h;
    save(h);
    return h.value();
  }

 private:
  at::Tensor parameter(const std::string& name, at::IntArrayRef shape, bool decay) {
    parameters_.push_back({name, (at::randn(shape) * 0.3).to(device_).requires_grad_(true), decay});
    return parameters_.back().value;
  }
  // This rank's share of 16 sequences.
  at::Tensor loss() const {
    at::manual_seed(1000 + step_);
    const at::Tensor ids = at::randint(60, {16}, at::kLong);
    const at::Tensor wanted = at::sin(ids.to(at::kFloat)) + at::randn({16}) * 0.1;
    const int64_t share = 16 / group_.size(), first = group_.rank() * share;
    const at::Tensor x = at::embedding(embed_, ids.narrow(0, first, share).to(device_));
    const at::Tensor h = at::tanh(at::matmul(x, w1_.t()) + b1_);
    const at::Tensor y = at::matmul(h, w2_.t()).flatten();
    return at::square(y - wanted.narrow(0, first, share).to(device_)).mean();
  }

  Group group_;
  at::Device device_;
  double learning_rate_;
  int64_t step_ = 0;
  std::vector<Parameter> parameters_;
  at::Tensor embed_, w1_, b1_, w2_;
  std::unique_ptr<Reducer> reducer_;
};

}  // namespace terse
