#include "tests/trainer/lab/lab.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace terse::testing {

std::vector<SafetensorsFile> Lab::run(const std::vector<std::string>& words,
                                      const std::vector<Tensors>& inputs) const {
  for (size_t rank = 0; rank < inputs.size(); ++rank) {
    std::map<std::string, TensorView> views;
    for (const auto& [name, t] : inputs[rank])
      views[name] = {DType::f32, t.sizes().vec(), bytes_of(t.const_data_ptr<float>(), t.numel())};
    write_safetensors(FileSystem::real(), folder_ / fmt::format("in{}", rank), views);
  }
  Launch launch;
  launch.ranks = static_cast<int>(inputs.size());
  launch.command = {TERSE_PROGRAM, "lab"};
  launch.command.insert(launch.command.end(), words.begin(), words.end());
  for (const char* side : {"in", "out"}) {
    launch.command.push_back(fmt::format("--{}", side));
    launch.command.push_back(folder_ / fmt::format("{}{{rank}}", side));
  }
  const Outcome outcome = run_ranks(launch);
  if (!outcome.ok()) throw std::runtime_error(outcome.text());
  std::vector<SafetensorsFile> files;
  for (size_t rank = 0; rank < inputs.size(); ++rank)
    files.emplace_back(folder_ / fmt::format("out{}", rank));
  return files;
}

std::vector<double> numbers(const SafetensorsFile& file, const std::string& key) {
  return nlohmann::json::parse(file.metadata().at(key)).get<std::vector<double>>();
}

std::vector<std::string> texts(const SafetensorsFile& file, const std::string& key) {
  return nlohmann::json::parse(file.metadata().at(key)).get<std::vector<std::string>>();
}

}  // namespace terse::testing
