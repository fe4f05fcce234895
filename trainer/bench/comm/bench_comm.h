// `terse bench comm`: codecs as multiples of a memcpy of the same fp32 buffer on the same threads,
// in alternating pairs; a ratio is the median over pairs. Names:
//   encode.onebit        with residual, one scale per 4,096 elements
//   encode.onebit_layer  with residual, one scale per layer of 1,048,576
//   decode.onebit, decode.onebit_layer
//   encode.bf16, decode.bf16
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace terse {

struct BenchCommOptions {
  int threads = 2;
  bool quick = false;
  int64_t elements = 25'165'824;
};

struct CommFigure {
  std::string name;
  double value = 0;      // GB/s of fp32 elements
  std::string unit;      // "GB/s"
  std::string baseline;  // "memcpy"
  double ratio = 0;      // time over the baseline's
  bool lower_is_better = true;
};

// Changes the process's number of threads. About 10 s, quick 3 s; 500 MB of memory.
std::vector<CommFigure> bench_comm(const BenchCommOptions& options);

// {"machine": {...}, "results": [...]} on one line.
std::string bench_comm_json(const BenchCommOptions& options,
                            const std::vector<CommFigure>& figures);

}  // namespace terse
