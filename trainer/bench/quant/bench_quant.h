// `terse bench quant`: the quantizer's kernels as multiples of a memcpy of their input on the same
// threads, in alternating pairs; a ratio is the median over pairs. Names:
//   quant.hadamard_int4          bf16 activation -> rotate, codes, scales, mask  [24576, 1024]
//   quant.hadamard_int4_decoded  the same and the decoded bf16 values that a bf16 matmul takes
//   quant.hadamard_int4_small    the first on [512, 640]; its value is ns an element and thread
//   quant.decode_int4            codes -> bf16
//   quant.unrotate               bf16 gradient -> mask, rotate, bf16
//   quant.q4_0, quant.q8_0       fp32 weight -> codes, scales, mask, decoded bf16
#pragma once
#include <string>
#include <vector>

namespace terse {

struct BenchQuantOptions {
  int threads = 2;
  bool quick = false;
};

struct QuantFigure {
  std::string name;
  double value = 0;
  std::string unit;      // "ns/element": wall time times threads over elements
  std::string baseline;  // "memcpy"
  double ratio = 0;      // time over the baseline's
  bool lower_is_better = true;
};

// Changes the process's number of threads. About 10 s, quick 3 s.
std::vector<QuantFigure> bench_quant(const BenchQuantOptions& options);

// {"machine": {...}, "results": [...]} on one line.
std::string bench_quant_json(const BenchQuantOptions& options,
                             const std::vector<QuantFigure>& figures);

}  // namespace terse
