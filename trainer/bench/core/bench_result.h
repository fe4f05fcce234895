// What every `terse bench` reports, as a table and as the JSON that other programs read.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace terse {

struct BenchResult {
  std::string name;  // dotted: "encode.onebit", "train.bf16"
  double value = 0;
  std::string unit;
  std::string baseline;  // what `ratio` is relative to, measured in the same run
  double ratio = 0;
  bool lower_is_better = false;
};

struct BenchMachine {
  int threads = 0;
  int64_t elements = 0;  // of the buffer that the bench worked on; 0: it has no such size
  int ranks = 0;         // that took part; 0: a bench of one process
};

// {"machine": {processor, cores, threads, elements and ranks where given, isa}, "results": [a
// BenchResult's fields each]} on one line. Reads /proc/cpuinfo.
std::string bench_json(const BenchMachine& machine, const std::vector<BenchResult>& results);

// A line a result: name, value and unit, ratio and baseline.
std::string bench_table(const std::vector<BenchResult>& results);

}  // namespace terse
