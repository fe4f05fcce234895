// Rules that make Codes of a matrix after training, by rounding to nearest, as the field's own
// converters do; FormatRow::requantize_as names one. z is a value, m the one of largest magnitude
// among those that share a scale.
//
//   compressed-tensors:wBaN   compressed-tensors, llm-compressor's round to nearest:
//                             scale = |m| / ((2^B - 1) / 2) rounded to bf16, code = rint(z / scale)
//                             in [-2^(B-1), 2^(B-1) - 1]; of 128 columns (64, 32, a row where the
//                             width asks for it), w8a8 of a row
//   onnx:matmulB              ONNX Runtime's MatMulNBits quantizer, symmetric: scale =
//                             m / -2^(B-1), of two such m the negative one,
//                             code = floor(z (1 / scale) + 1/2); blocks of 32 (16, a row)
//   onnx:int8                 ONNX Runtime's int8 weights of QDQ: scale = |m| / 127 of a row,
//                             code = rint(z / scale)
//   any [qat] target          its grid (qat/targets.h): ggml's own for Q4_0 and Q8_0
//
// A group of zeros gets the least scale of its type, where the converters choose 1, 0 or an
// epsilon.
#pragma once
#include <cstdint>
#include <span>
#include <string>

#include "qat/codes.h"
#include "qat/grid.h"

namespace terse {

struct PostTraining {
  Grid grid;
  bool signed_blocks = false;  // scales as MatMulNBits' quantizer has them
};

bool has_post_training(const std::string& rule);
// For the matrix `name` of so many columns. Error(usage) where they do not fit the rule's blocks.
PostTraining post_training(const std::string& rule, const std::string& name, int64_t columns);

// Row-major values; Error(invalid_file) that names the matrix where they hold NaN or infinity. On
// all threads, with the same bits on any number of them.
Codes rounded_codes(const PostTraining& how, const std::string& name, int64_t rows, int64_t columns,
                    std::span<const float> values);

}  // namespace terse
