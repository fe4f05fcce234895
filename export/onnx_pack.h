// Codes as ONNX stores them: MatMulNBits of ONNX Runtime (com.microsoft; 2, 4 or 8 bits along the
// input dimension, a scale a block), or int8 between DequantizeLinear and MatMul (QDQ).
//
//   decoded = (u - zero_point) * s,  u = code * multiply + add + zero_point,  s in fp32
//
// Half-integer grids are stored as 2 code + 1 with half the scale; what a mask pruned is stored as
// the zero point. Every scale type is exact in fp32, which is what activations are.
#pragma once
#include <cstdint>
#include <string>

#include "export/byte_source.h"
#include "export/verdict.h"
#include "qat/codes.h"

namespace terse {

struct OnnxPacking {
  int bits = 4;       // of a stored code
  bool qdq = false;   // int8 weights [in, out] for DequantizeLinear, else MatMulNBits
  int64_t block = 0;  // inputs that share a stored scale; qdq: 0 = an output, -1 = the matrix
  int multiply = 1, add = 0;
  int zero_point = 8;  // of u
  bool writes_zero_points() const { return !qdq && zero_point != 1 << (bits - 1); }
};

// type: "" = MatMulNBits with the fewest bits that hold the codes; "int2", "int4" = MatMulNBits
// with at most so many; "int8" = QDQ.
Fit onnx_fit(const CodeFormat& format, const std::string& type);
// For a format that fits; `columns` of the matrix.
OnnxPacking onnx_packing(const CodeFormat& format, const std::string& type, int64_t columns);

// Stored scales along a row of MatMulNBits.
int64_t onnx_blocks(const OnnxPacking& packing, int64_t columns);

// The inputs B, scales and zero_points of MatMulNBits ([out, blocks, block * bits / 8], [out,
// blocks], [out, ceil(blocks * bits / 8)]), or the int8 weight [in, out] and its scales (a number,
// [out], or [in / block, out]). Error(invalid_file) if a scale is too small for its half in fp32.
// On all threads; memory: 1 MiB, or the scales.
void onnx_pack_codes(const Codes& codes, const OnnxPacking& packing, const ByteSink& sink);
void onnx_pack_scales(const Codes& codes, const OnnxPacking& packing, const std::string& name,
                      const ByteSink& sink);
void onnx_pack_zero_points(int64_t rows, int64_t columns, const OnnxPacking& packing,
                           const ByteSink& sink);

}  // namespace terse
