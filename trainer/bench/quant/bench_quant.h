// `terse bench quant`: the quantizer's kernels as multiples of a memcpy of their input on the same
// threads, in alternating pairs; a ratio is the median over pairs. Names:
//   quant.hadamard_int4, _int8   bf16 activation -> rotate, codes, scales, mask  [24576, 1024]
//   quant.hadamard_int4_decoded  the same and the decoded bf16 values that a bf16 matmul takes
//   quant.hadamard_int4_small    the first on [512, 640]; its value is ns an element and thread
//   quant.decode_int4            codes -> bf16
//   quant.unrotate               bf16 gradient -> mask, rotate, bf16
//   quant.q4_0, quant.q8_0, ...  fp32 weight -> codes, scales, mask, decoded bf16, of each target:
//   quant.ct_w4a16, ...          GGUF's by their types, compressed-tensors' with ct_, ONNX's with
//   quant.onnx_int4, ...         onnx_
//   quant.planes_encode          bf16 weights -> lossless bytes (export/byte_planes.h), wall time
//   quant.planes_decode          and back
//   product.int8_KxN             codes [2048, K] times codes [N, K], of the bf16 product of decoded
//                                values; where the processor has both (qat/coded_product.h)
#pragma once
#include <vector>

#include "trainer/bench/core/bench_result.h"

namespace terse {

struct BenchQuantOptions {
  int threads = 2;
  bool quick = false;
};

// `value` in ns an element (wall time times threads over elements; products: in ms), `ratio` the
// time over the baseline's. Changes the process's number of threads. About 10 s, quick 3 s.
std::vector<BenchResult> bench_quant(const BenchQuantOptions& options);

}  // namespace terse
