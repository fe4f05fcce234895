#include "trainer/bench/core/bench_result.h"

#include <fmt/format.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/isa.h"

namespace terse {
namespace {

std::string processor() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace

std::string bench_json(const BenchMachine& machine, const std::vector<BenchResult>& results) {
  nlohmann::ordered_json out;
  auto& m = out["machine"];
  m["processor"] = processor();
  m["cores"] = std::thread::hardware_concurrency();
  m["threads"] = machine.threads;
  if (machine.elements > 0) m["elements"] = machine.elements;
  if (machine.ranks > 0) m["ranks"] = machine.ranks;
  m["isa"] = isa_name(isa());
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

std::string bench_table(const std::vector<BenchResult>& results) {
  std::string table;
  for (const BenchResult& r : results)
    fmt::format_to(std::back_inserter(table), "{:<30} {:>12.5g} {:<12} {:>8.3f} of {}\n", r.name,
                   r.value, r.unit, r.ratio, r.baseline);
  return table;
}

}  // namespace terse
