// The verbs train and resume.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/error.h"
#include "trainer/cli/signals.h"
#include "trainer/cli/verbs.h"
#include "trainer/training.h"

namespace terse {
namespace {

// With --json standard output belongs to the one JSON value; everything else goes to the other
// stream.
TrainingOptions base_options(const CommonArguments& common) {
  TrainingOptions options;
  options.backend = common.backend;
  options.flags = common.world;
  options.threads = common.threads;
  options.bind = parse_bind(common.bind);
  std::FILE* stream = common.json ? stderr : stdout;
  options.progress = ProgressOptions::detect(::fileno(stream));
  options.print = [stream](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stream);
    std::fflush(stream);
  };
  return options;
}

// --replay RUN is [exchange] replay, which the run's own recipe keeps.
std::vector<std::string> with_replay(std::vector<std::string> sets, const std::string& replay) {
  if (replay.empty()) return sets;
  std::string quoted;
  for (const char c : replay) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  sets.push_back("exchange.replay=\"" + quoted + "\"");
  return sets;
}

int run(const TrainingOptions& options, const CommonArguments& common) {
  install_stop_signals();
  const TrainingResult result = train(options);
  if (result.summary.run.empty())
    return result.preempted ? static_cast<int>(ExitCode::preempted) : 0;
  if (result.preempted) {
    options.print(fmt::format("stopped after step {}, saved; go on with: terse resume {}\n",
                              result.summary.steps, result.summary.run));
    return static_cast<int>(ExitCode::preempted);
  }
  if (common.json)
    fmt::print("{}\n", summary_json(result.summary));
  else
    options.print(render_summary(result.summary, options.progress.colour));
  return 0;
}

}  // namespace

int verb_train(const CommonArguments& common, const TrainArguments& arguments) {
  TrainingOptions options = base_options(common);
  options.recipe = arguments.recipe;
  options.out = arguments.out;
  options.deepspeed = arguments.deepspeed;
  options.sets = with_replay(arguments.sets, arguments.replay);
  return run(options, common);
}

int verb_resume(const CommonArguments& common, const ResumeArguments& arguments) {
  TrainingOptions options = base_options(common);
  options.resume = arguments.run;
  options.sets = with_replay(arguments.sets, arguments.replay);
  return run(options, common);
}

}  // namespace terse
