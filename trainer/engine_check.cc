#include "trainer/engine_check.h"

#include <ATen/ATen.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/keys.h"
#include "base/run_program.h"
#include "trainer/logits_probe.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

using nlohmann::json;

// Of random networks, which add up rounding as badly as any, llama.cpp's logits lie 1 to 5 % off
// the exact ones with Q types, 1e-6 with F32; with rows of q or k in another order about 100 %.
constexpr std::array<EngineProgram, 2> kEngines = {{
    {"llama.cpp", "scripts/engine/llama_perplexity.py", ".venv/bin/python", "scripts/setup", 0.01,
     0.05, "llama.cpp rounds activations to 8 bits in blocks of 32 (F16 and BF16: to 16 bits)"},
    {"vllm", "scripts/engine/vllm_perplexity.py", ".venv-vllm/bin/python", "scripts/setup --vllm",
     0.03, 0.05, "vLLM computes in bfloat16 on a CPU"},
}};

class WorkFolder {
 public:
  WorkFolder() {
    std::string name = std::filesystem::temp_directory_path() / "terse-engine-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr)
      fail(ExitCode::usage, "{}: no temporary folder can be made", name);
    path_ = name;
  }
  ~WorkFolder() { std::filesystem::remove_all(path_); }
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;
  std::string write(const char* name, const std::string& text) const {
    const std::string file = path_ / name;
    write_atomically(FileSystem::real(), file, text);
    return file;
  }
  std::string file(const char* name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

std::string in_source_tree(const EngineProgram& engine, const char* relative) {
  std::string path = fmt::format("{}/{}", TERSE_SOURCE_DIR, relative);
  if (::access(path.c_str(), R_OK) != 0)
    fail(ExitCode::usage, "{} is missing, which runs {}; {} makes it", path, engine.name,
         engine.setup);
  return path;
}

// What the engine prints; its standard error goes to `log`.
std::string output_of(const std::vector<std::string>& command, const std::string& log) {
  ProgramEnd end = run_program(command, log);
  if (end.code == 0) return std::move(end.output);
  std::string words = read_text(log);
  if (words.size() > 600) words = words.substr(words.size() - 600);
  fail(ExitCode::invalid_file, "the engine failed ({}): {}", fmt::join(command, " "), words);
}

// The first validation windows, what the engine and terse are both asked for.
using Windows = std::vector<std::vector<int64_t>>;

Windows windows_of(const Examples& text, int64_t count) {
  Windows all(static_cast<size_t>(std::min(count, text.count())));
  for (size_t w = 0; w < all.size(); ++w) {
    all[w].resize(static_cast<size_t>(text.columns()));
    text.read(static_cast<int64_t>(w), 0, all[w]);
  }
  return all;
}

double perplexity_here(const Artifact& artifact, const Windows& windows, int64_t targets) {
  const auto model = model_of(artifact, {.type = at::kFloat});
  double nll = 0;
  for (const std::vector<int64_t>& window : windows) {
    const at::Tensor row = at::tensor(at::ArrayRef<int64_t>(window), at::kLong).view({1, -1});
    nll += model->scores(row).nll.item<double>();
  }
  return std::exp(nll / static_cast<double>(static_cast<int64_t>(windows.size()) * targets));
}

}  // namespace

const EngineProgram& engine_program(const std::string& name) {
  std::vector<std::string> names;
  for (const EngineProgram& engine : kEngines) {
    if (name == engine.name) return engine;
    names.push_back(engine.name);
  }
  fail(ExitCode::usage, "no engine \"{}\"; there is {}", name, fmt::join(names, ", "));
}

EngineCheck check_in_engine(const EngineProgram& engine, const std::string& path,
                            const Artifact& artifact, const DataFiles& data, int64_t windows) {
  if (artifact.vit)
    fail(ExitCode::usage, "{} reads models of text, and {} is one of images", engine.name, path);
  const std::string python = in_source_tree(engine, engine.python);
  const std::string script = in_source_tree(engine, engine.script);
  const auto text = data.validation(artifact.shape.context);
  const Windows scored = windows_of(*text, windows);
  const std::string beside = probe_path(path);
  const LogitsProbe probe =
      FileSystem::real().exists(beside) ? read_probe(beside) : make_probe(artifact, data);
  const WorkFolder work;
  const std::string windows_file = work.write("windows.json", json(scored).dump());
  const std::string probe_file = work.write("probe.json", json(probe.ids).dump());
  const std::string output = output_of(
      {python, script, path, "--windows", windows_file, "--probe", probe_file}, work.file("log"));
  EngineCheck check;
  check.engine = engine.name;
  std::vector<float> log_probabilities;
  try {
    const json answer = json::parse(output);
    check.perplexity = answer.at("perplexity").get<double>();
    check.tokens = answer.at("tokens").get<int64_t>();
    for (const json& row : answer.at("probe"))
      for (const json& value : row) log_probabilities.push_back(value.get<float>());
  } catch (const json::exception& e) {
    fail(ExitCode::invalid_file, "{} gave no answer on {} ({}): {}", engine.name, path, e.what(),
         output.substr(0, 400));
  }
  check.terse_perplexity = perplexity_here(artifact, scored, text->targets());
  check.probe_difference = probe_difference(probe, log_probabilities);
  check.agrees =
      std::abs(check.perplexity / check.terse_perplexity - 1) <= engine.perplexity_tolerance &&
      check.probe_difference <= engine.probe_tolerance;
  return check;
}

std::string to_json(const EngineCheck& check) {
  return nlohmann::ordered_json{{"engine", check.engine},
                                {"perplexity", check.perplexity},
                                {"terse_perplexity", check.terse_perplexity},
                                {"tokens", check.tokens},
                                {"probe_difference", check.probe_difference},
                                {"agrees", check.agrees}}
      .dump();
}

}  // namespace terse
