#include "trainer/bench/train/bench_train.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>

#include "base/error.h"
#include "trainer/bench/core/pairs.h"
#include "trainer/bench/train/peer.h"
#include "trainer/bench/train/training_step.h"
#include "trainer/model/allocator.h"

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

QatOptions w4a4() {
  QatOptions q;
  q.target = "none";
  q.weight_bits = 4;
  q.act_bits = 4;
  q.hadamard = 128;
  q.ignore = {"lm_head"};  // as in QuEST's own runs
  return q;
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
  at::set_num_threads(o.threads);
  const int rounds = o.quick ? 9 : 15;
  const auto tokens = static_cast<double>(o.batch * o.model.context);
  TrainingStep bf16(o.model, QatOptions(), o.batch), quantized(o.model, w4a4(), o.batch);
  for (int i = 0; i < 3; ++i) bf16.run(), quantized.run();
  std::vector<BenchResult> results;
  Seconds ours;
  {
    const auto peer = start_peer(o, false);
    const auto seconds = take_turns(
        {[&] { return peer->run(); }, [&] { return bf16.run(); }, [&] { return quantized.run(); }},
        rounds);
    ours = seconds[1];
    results = {{"torch_eager", tokens / median(seconds[0]), "tokens/s", "torch_eager", 1.0},
               {"train.bf16", tokens / median(ours), "tokens/s", "torch_eager",
                speed_ratio(ours, seconds[0])},
               {"train.w4a4", tokens / median(seconds[2]), "tokens/s", "train.bf16",
                speed_ratio(seconds[2], ours)}};
  }
  if (!o.quick)
    results.push_back({"train.bf16_vs_compile", tokens / median(ours), "tokens/s", "torch_compile",
                       best_of_three_compiled(o, bf16, rounds)});
  return results;
}

}  // namespace terse
