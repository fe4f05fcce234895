#include "trainer/bench/train/bench_train.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <span>

#include "base/error.h"
#include "trainer/bench/core/pairs.h"
#include "trainer/bench/train/peer.h"
#include "trainer/bench/train/training_step.h"
#include "trainer/model/allocator.h"
#include "trainer/model/memory_counter.h"

namespace terse {
namespace {

using Seconds = std::vector<double>;  // a round each
using Run = std::function<double()>;

// Each contender in turn, `rounds` times; a round is the mean of two steps.
std::vector<Seconds> take_turns(const std::vector<Run>& contenders, int rounds) {
  std::vector<Seconds> seconds(contenders.size());
  for (int r = 0; r < rounds; ++r)
    for (size_t c = 0; c < contenders.size(); ++c)
      seconds[c].push_back((contenders[c]() + contenders[c]()) / 2);
  return seconds;
}

// How many times faster `ours` was, by rounds.
double speed_ratio(const Seconds& ours, const Seconds& baseline) {
  Seconds ratios;
  for (size_t r = 0; r < ours.size(); ++r) ratios.push_back(baseline[r] / ours[r]);
  return median(ratios);
}

std::unique_ptr<Peer> start_peer(const BenchTrainOptions& o, bool compile) {
  const std::string root = TERSE_SOURCE_DIR;
  const std::string python = o.python.empty() ? root + "/.venv-peers/bin/python" : o.python;
  const std::string script = o.script.empty() ? root + "/tests/peers/torch_llama.py" : o.script;
  for (const std::string& file : {python, script})
    if (::access(file.c_str(), R_OK) != 0)
      fail(ExitCode::usage,
           "bench train compares with PyTorch, and {} is missing; scripts/test "
           "makes it",
           file);
  std::vector<std::string> command{python, script, "--bench"};
  if (compile) command.push_back("--compile");
  const auto add = [&](const char* flag, int64_t value) {
    command.push_back(fmt::format("--{}={}", flag, value));
  };
  const LlamaOptions& m = o.model;
  add("layers", m.layers), add("width", m.width), add("heads", m.heads), add("kv-heads", m.kv());
  add("hidden", m.hidden), add("vocab", m.vocab), add("context", m.context);
  add("batch", o.batch), add("threads", o.threads);
  return std::make_unique<Peer>(command, o.threads, compile ? 1200.0 : 300.0);
}

struct Variant {
  std::string name;
  QatOptions qat;
  SparsityRun sparsity;
};

// The output matrix stays bf16, as in QuEST's own runs.
QatOptions quantized(int64_t bits) {
  QatOptions q;
  q.target = "none";
  q.weight_bits = bits;
  q.act_bits = bits;
  q.hadamard = 128;
  q.ignore = {"lm_head"};
  return q;
}

// In the middle of a run in which the mask fades.
SparsityRun masked() {
  SparsityRun run;
  run.options.pattern = "2:4";
  run.options.schedule = "mask_exponential";
  run.options.ignore = {"lm_head"};
  run.steps = 1000;
  return run;
}

// The first is the baseline of the others.
std::vector<Variant> variants() {
  return {{"bf16", {}, {}},
          {"w8a8", quantized(8), {}},
          {"w4a4", quantized(4), {}},
          {"nm24", {}, masked()}};
}

// A contender with the most memory that its steps took.
struct Contender {
  Contender(const Variant& variant, const LlamaOptions& model, int64_t batch)
      : name(variant.name), before(MemoryCounter::live()) {
    step = std::make_unique<TrainingStep>(model, variant.qat, batch, variant.sparsity);
    MemoryCounter::restart_peak();
    for (int i = 0; i < 3; ++i) step->run();
    peak = MemoryCounter::peak() - before;
  }
  std::string name;
  int64_t before, peak = 0;
  std::unique_ptr<TrainingStep> step;
};

std::vector<Contender> contenders_of(const LlamaOptions& model, int64_t batch) {
  std::vector<Contender> all;
  for (const Variant& variant : variants()) all.emplace_back(variant, model, batch);
  return all;
}

std::vector<Run> runs_of(std::vector<Contender>& contenders) {
  std::vector<Run> runs;
  for (Contender& c : contenders) runs.push_back([step = c.step.get()] { return step->run(); });
  return runs;
}

// `seconds`: of the contenders, the first of which is the baseline. `suffix`: of their names.
void add_ratios(const std::vector<Contender>& contenders, std::span<const Seconds> seconds,
                double tokens, const std::string& suffix, std::vector<BenchResult>& results) {
  const std::string baseline = "train.bf16" + suffix;
  for (size_t i = 1; i < contenders.size(); ++i)
    results.push_back({"train." + contenders[i].name + suffix, tokens / median(seconds[i]),
                       "tokens/s", baseline, speed_ratio(seconds[i], seconds[0])});
}

void add_memory(const std::vector<Contender>& contenders, const std::string& suffix,
                std::vector<BenchResult>& results) {
  const auto of = [](const Contender& c) { return static_cast<double>(c.peak); };
  for (const Contender& c : contenders)
    results.push_back({"memory." + c.name + suffix, of(c) * 1e-6, "MB", "memory.bf16" + suffix,
                       of(c) / of(contenders[0]), true});
}

void at_width_640(const BenchTrainOptions& o, std::vector<BenchResult>& results) {
  LlamaOptions wide = o.model;
  wide.width = 640, wide.heads = 5, wide.kv_heads = 0, wide.hidden = 1792;
  const auto tokens = static_cast<double>(o.batch * wide.context);
  std::vector<Contender> contenders = contenders_of(wide, o.batch);
  const auto seconds = take_turns(runs_of(contenders), 7);
  results.push_back(
      {"train.bf16_640", tokens / median(seconds[0]), "tokens/s", "train.bf16_640", 1.0});
  add_ratios(contenders, seconds, tokens, "_640", results);
  add_memory(contenders, "_640", results);
}

// The strongest of three processes: inductor's code differs from one to the
// next.
double best_of_three_compiled(const BenchTrainOptions& o, TrainingStep& bf16, int rounds) {
  double least = 1e30;
  for (int i = 0; i < 3; ++i) {
    const auto peer = start_peer(o, true);
    const auto seconds =
        take_turns({[&] { return bf16.run(); }, [&] { return peer->run(); }}, rounds);
    least = std::min(least, speed_ratio(seconds[0], seconds[1]));
  }
  return least;
}

}  // namespace

std::vector<BenchResult> bench_train(const BenchTrainOptions& o) {
  tune_allocator();
  MemoryCounter::install();
  at::set_num_threads(o.threads);
  const int rounds = o.quick ? 7 : 15;
  const auto tokens = static_cast<double>(o.batch * o.model.context);
  std::vector<Contender> contenders = contenders_of(o.model, o.batch);
  std::vector<Run> runs = runs_of(contenders);
  std::vector<BenchResult> results;
  Seconds ours;
  {
    const auto peer = start_peer(o, false);
    runs.push_back([&] { return peer->run(); });
    const auto seconds = take_turns(runs, rounds);
    const Seconds& eager = seconds.back();
    ours = seconds[0];
    results = {
        {"torch_eager", tokens / median(eager), "tokens/s", "torch_eager", 1.0},
        {"train.bf16", tokens / median(ours), "tokens/s", "torch_eager", speed_ratio(ours, eager)}};
    add_ratios(contenders, seconds, tokens, "", results);
  }
  add_memory(contenders, "", results);
  if (o.quick) return results;
  results.push_back({"train.bf16_vs_compile", tokens / median(ours), "tokens/s", "torch_compile",
                     best_of_three_compiled(o, *contenders[0].step, rounds)});
  contenders.clear();
  at_width_640(o, results);
  return results;
}

}  // namespace terse
