#include <nlohmann/json.hpp>

#include <fstream>
#include <thread>

#include "base/isa.h"
#include "trainer/bench/train/bench_train.h"

namespace terse {
namespace {

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace

std::string bench_json(const BenchTrainOptions& options, const std::vector<BenchResult>& results) {
  nlohmann::ordered_json out;
  out["machine"] = {{"processor", processor()},
                    {"cores", std::thread::hardware_concurrency()},
                    {"threads", options.threads},
                    {"isa", isa_name(isa())}};
  out["results"] = nlohmann::ordered_json::array();
  for (const BenchResult& r : results)
    out["results"].push_back({{"name", r.name},
                              {"value", r.value},
                              {"unit", r.unit},
                              {"baseline", r.baseline},
                              {"ratio", r.ratio},
                              {"lower_is_better", r.lower_is_better}});
  return out.dump();
}

}  // namespace terse
