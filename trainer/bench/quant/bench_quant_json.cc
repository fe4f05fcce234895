#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/isa.h"
#include "trainer/bench/quant/bench_quant.h"

namespace terse {
namespace {

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace

std::string bench_quant_json(const BenchQuantOptions& options,
                             const std::vector<QuantFigure>& figures) {
  nlohmann::ordered_json out;
  out["machine"] = {{"processor", processor()},
                    {"cores", std::thread::hardware_concurrency()},
                    {"threads", options.threads},
                    {"isa", isa_name(isa())}};
  out["results"] = nlohmann::ordered_json::array();
  for (const QuantFigure& f : figures)
    out["results"].push_back({{"name", f.name},
                              {"value", f.value},
                              {"unit", f.unit},
                              {"baseline", f.baseline},
                              {"ratio", f.ratio},
                              {"lower_is_better", f.lower_is_better}});
  return out.dump();
}

}  // namespace terse
