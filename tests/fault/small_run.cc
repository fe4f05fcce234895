#include "tests/fault/small_run.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>
#include <stdexcept>

#include "trainer/checkpoint/checkpoint.h"

namespace terse {
namespace {

using testing::Launch;
using testing::Outcome;
using testing::Started;

// Sentences of a small grammar: enough to train a tokenizer of 300 pieces on and to learn from.
std::string make_text() {
  const std::vector<std::string> who = {"the king", "a prophet", "the people", "my servant"};
  const std::vector<std::string> does = {"saw", "called", "blessed", "left", "remembered"};
  const std::vector<std::string> what = {"the city", "the water", "a great stone", "his brother"};
  std::mt19937 random(7);
  std::ostringstream text;
  for (int i = 0; i < 3000; ++i)
    text << who[random() % who.size()] << ' ' << does[random() % does.size()] << ' '
         << what[random() % what.size()] << (i % 3 == 2 ? ".\n" : ", and ");
  return text.str();
}

void write(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
}

}  // namespace

SmallRun::SmallRun() {
  write(path("text.txt"), make_text());
  write(path("recipe.toml"),
        "[model]\nlayers = 2\nwidth = 64\nheads = 2\nkv_heads = 1\nhidden = 96\ncontext = 32\n"
        "[data]\ntext = [\"" +
            path("text.txt") + "\"]\ndir = \"" + path("data") +
            "\"\nvocab = 300\n"
            "[train]\nsteps = 60\nbatch_tokens = 256\nseed = 3\neval_every = 0\nthreads = 1\n"
            "[optim]\nname = \"onebit_adam\"\nlr = 3e-3\nwarmup = 5\nfreeze = 20\n"
            "[exchange]\ncodec = \"onebit\"\ntimeout_s = 60\n"
            "[qat]\ntarget = \"gguf:q4_0\"\nignore = [\"lm_head\"]\n"
            "[checkpoint]\nevery = 10\nkeep = 3\n");
}

namespace {

Launch terse_launch(std::vector<std::string> words, int ranks,
                    const std::vector<std::string>& sets) {
  Launch launch;
  launch.ranks = ranks;
  launch.command = std::move(words);
  launch.command.insert(launch.command.begin(), TERSE_PROGRAM);
  for (const std::string& set : sets) {
    launch.command.push_back("--set");
    launch.command.push_back(set);
  }
  launch.limit = std::chrono::seconds(120);
  return launch;
}

}  // namespace

Launch SmallRun::train_launch(const std::string& run, int ranks,
                              const std::vector<std::string>& sets) {
  return terse_launch({"train", path("recipe.toml"), "--out", path(run)}, ranks, sets);
}

Outcome SmallRun::train(const std::string& run, int ranks, const std::vector<std::string>& sets,
                        Started launcher, const std::map<std::string, std::string>& environment,
                        const std::string& backend) {
  Launch launch = train_launch(run, ranks, sets);
  launch.command.insert(launch.command.begin() + 1, {"--backend", backend});
  launch.launcher = launcher;
  launch.environment = environment;
  return testing::run_ranks(launch);
}

Launch SmallRun::resume_launch(const std::string& run, int ranks,
                               const std::vector<std::string>& sets) {
  return terse_launch({"resume", path(run)}, ranks, sets);
}

Outcome SmallRun::resume(const std::string& run, int ranks, const std::vector<std::string>& sets) {
  return testing::run_ranks(resume_launch(run, ranks, sets));
}

std::vector<double> SmallRun::losses(const std::string& run) const {
  std::vector<double> losses;
  std::ifstream file(path(run) + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) {
    const auto record = nlohmann::json::parse(line);
    if (record.at("kind") != "step") continue;
    if (record.at("step") != static_cast<int64_t>(losses.size()) + 1)
      throw std::runtime_error("metrics.jsonl: steps are not 1, 2, 3, ...: " + line);
    const bool skipped = record.at("skipped").get<bool>();
    losses.push_back(skipped ? std::numeric_limits<double>::quiet_NaN()
                             : record.at("loss").get<double>());
  }
  return losses;
}

std::string SmallRun::final_state(const std::string& run) const {
  const auto search = newest_checkpoint(path(run), 0);
  if (!search.found) throw std::runtime_error(run + " has no checkpoint");
  return read_text(search.found->folder() + "/shared.safetensors");
}

std::map<std::string, std::string> SmallRun::weights(const std::string& run, int64_t step) const {
  const std::string digits = std::to_string(step);
  const Checkpoint checkpoint(
      path(run) + "/checkpoints/step-" + std::string(8 - digits.size(), '0') + digits, 0);
  std::map<std::string, std::string> all;
  for (const std::string& name : checkpoint.tensor_names(Scope::shared)) {
    if (!name.starts_with("model/")) continue;
    const auto data = checkpoint.tensor(Scope::shared, name)->data;
    all[name] = {reinterpret_cast<const char*>(data.data()), data.size()};
  }
  return all;
}

}  // namespace terse
