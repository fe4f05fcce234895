#include "trainer/plan/step_probe.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "comm/reducer.h"
#include "comm/reducer_buffers.h"
#include "optim/adamw.h"
#include "trainer/model/llama.h"

namespace terse {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

LlamaOptions with_vocab(const Recipe& recipe) {
  if (recipe.model.images())
    fail(ExitCode::usage,
         "terse plan measures steps on random tokens: [model] kind = \"vit\" has none; train a few "
         "steps "
         "with each [exchange] instead");
  LlamaOptions options = recipe.model.llama;
  if (options.vocab == 0) options.vocab = recipe.data.vocab;
  return options;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Times of one step.
struct Times {
  double forward = 0, backward = 0, apply = 0;
  std::vector<double> ready;
};

class Probe {
 public:
  Probe(const Recipe& recipe, int64_t ranks)
      : model_(with_vocab(recipe), recipe.qat, compute(recipe), 1),
        buffers_(model_.parameters(), ReducerOptions().bucket_bytes, false),
        optimizer_(AdamOptions::from(recipe.optim)),
        rows_(share_of(recipe, ranks)) {
    const int64_t micro = recipe.train.micro_tokens / recipe.model.targets();
    micro_ = micro > 0 ? std::min(micro, rows_) : rows_;
    const int64_t context = recipe.model.targets();
    tokens_ = at::randint(0, model_.options().vocab, {rows_, context + 1},
                          at::detail::createCPUGenerator(1), at::TensorOptions().dtype(at::kLong));
    optimizer_.attach(buffers_.plan(), buffers_.tensors());
    model_.refresh();
  }

  const BucketPlan& plan() const { return buffers_.plan(); }
  int64_t tokens() const { return rows_ * model_.options().context; }

  Times step() {
    Times times;
    times.ready.resize(plan().buckets.size());
    const auto begin = Clock::now();
    for (int64_t at = 0; at < rows_; at += micro_) {
      const int64_t rows = std::min(micro_, rows_ - at);
      const at::Tensor loss = model_.loss(tokens_.narrow(0, at, rows));
      if (at + rows < rows_) {
        loss.backward();
        continue;
      }
      times.forward = seconds_since(begin);
      const auto start = Clock::now();
      buffers_.arm([&](int64_t b) { times.ready[static_cast<size_t>(b)] = seconds_since(start); });
      loss.backward();
      times.backward = seconds_since(start);
      buffers_.disarm();
    }
    times.apply = apply();
    return times;
  }

 private:
  static ComputeOptions compute(const Recipe& recipe) {
    ComputeOptions options;
    options.type = recipe.train.compute == "fp32" ? at::kFloat : at::kBFloat16;
    options.recompute = recipe.train.recompute;
    return options;
  }

  double apply() {
    const at::NoGradGuard no_grad;
    const auto begin = Clock::now();
    StepContext context;
    context.step = ++step_;
    context.learning_rate = 1e-4;
    for (const Bucket& bucket : plan().buckets)
      optimizer_.apply(context, bucket.index, buffers_[bucket.index].gradient);
    optimizer_.commit(context, optimizer_.next_plan(step_ + 1));
    buffers_.zero_gradients();
    model_.refresh();
    return seconds_since(begin);
  }

  Llama model_;
  ReducerBuffers buffers_;
  AdamW optimizer_;
  at::Tensor tokens_;
  int64_t rows_;
  int64_t micro_ = 0;
  int64_t step_ = 0;
};

}  // namespace

int64_t share_of(const Recipe& recipe, int64_t ranks) {
  return std::max<int64_t>(1, recipe.train.examples(recipe.model.targets()) / ranks);
}

StepProbe measure_step(const Recipe& recipe, int64_t ranks, int64_t steps) {
  Probe probe(recipe, ranks);
  probe.step();
  std::vector<Times> all;
  for (int64_t i = 0; i < steps; ++i) all.push_back(probe.step());
  const auto middle = [&](auto field) {
    std::vector<double> values;
    for (const Times& t : all) values.push_back(field(t));
    return median(std::move(values));
  };
  StepProbe result{probe.plan(), {}, probe.tokens()};
  StepModel& m = result.model;
  m.forward = middle([](const Times& t) { return t.forward; });
  m.backward = middle([](const Times& t) { return t.backward; });
  m.apply = middle([](const Times& t) { return t.apply; });
  for (size_t b = 0; b < result.plan.buckets.size(); ++b)
    m.ready.push_back(std::min(m.backward, middle([b](const Times& t) { return t.ready[b]; })));
  m.cores = at::get_num_threads();
  m.ranks = ranks;
  return result;
}

StepProbe assumed_step(const Recipe& recipe, int64_t ranks, double seconds) {
  const Probe probe(recipe, ranks);
  StepProbe result{probe.plan(), {}, probe.tokens()};
  StepModel& m = result.model;
  m.forward = seconds / 3;
  m.backward = seconds - m.forward;
  double all = 0, so_far = 0;
  for (const Bucket& bucket : result.plan.buckets) all += static_cast<double>(bucket.size);
  for (const Bucket& bucket : result.plan.buckets) {
    so_far += static_cast<double>(bucket.size);
    m.ready.push_back(m.backward * so_far / all);
  }
  m.cores = at::get_num_threads();
  m.ranks = ranks;
  return result;
}

}  // namespace terse
