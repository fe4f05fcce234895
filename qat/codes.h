// Codes: a compressed tensor as plain data. Training decodes them for its matmul, evaluation runs
// on them, the checkpoint stores them and export writes them without encoding again.
//
//   decoded[r, c] = ((codes[r, c] + offset) * unit) * (scale[r, c / group] * tensor_scale)
//
// in fp32, in the stored space. unit and tensor_scale are powers of two, so that no order of these
// products gives other bits. Grids: int_signed, int_symmetric, half_int (offset 0.5; at 1 bit
// binary, +-scale / 2), ternary (-1, 0, 1), and fp4, E2M1 as MXFP4 and NVFP4 have it: its codes are
// the doubled values 0, +-1, +-2, +-3, +-4, +-6, +-8, +-12 with the unit 0.5, and its zero is +0.
//
// The stored space is the rotated one when `hadamard` > 0: weight = rotate(decoded) along the
// columns. Where a mask is, elements whose bit is 0 have the code 0 and decode to 0, whatever the
// offset: a half-integer grid has no zero of its own. Free of torch.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "qat/scale_type.h"

namespace terse {

// The grid a tensor's codes live on: all that a reader needs besides codes and scales.
struct CodeFormat {
  std::string grid;  // "int_signed", "half_int", "int_symmetric", "ternary", "fp4"
  int bits = 4;      // codes lie in [code_min, code_max]
  int code_min = -8;
  int code_max = 7;
  float offset = 0.0f;  // 0.5 for half-integer grids
  int64_t group = 32;   // columns that share a scale; 0 = a whole row; -1 = the whole tensor
  ScaleType scale_type = ScaleType::f16;
  int64_t hadamard = 0;      // block length of the rotation along the columns; 0 = none
  std::string pattern = "";  // of the mask: "2:4" (sparsity/pattern.h); "" = no mask
  float unit = 1.0f;         // value of one step of the code
  bool operator==(const CodeFormat&) const = default;
};

// Scales along a row: 1 where a row or the tensor shares one.
inline int64_t groups_of(const CodeFormat& format, int64_t columns) {
  return format.group <= 0 ? 1 : columns / format.group;
}

struct Codes {
  CodeFormat format;
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<int8_t> codes;  // rows x columns
  std::vector<float> scales;  // scale_count() of them, each exactly representable in scale_type
  std::vector<uint8_t> mask;  // bits, rows x mask_stride(columns) bytes (sparsity/mask.h)
  float tensor_scale = 1.0f;  // the second scale of NVFP4; 1 unless scale_type is e4m3

  int64_t groups() const { return groups_of(format, columns); }
  int64_t scale_count() const { return format.group < 0 ? 1 : rows * groups(); }
  float scale_at(int64_t row, int64_t column) const {
    if (format.group < 0) return scales[0];
    const int64_t group = format.group == 0 ? columns : format.group;
    return scales[static_cast<size_t>(row * groups() + column / group)];
  }
  // Puts a mask over unmasked Codes: the pruned get the code 0.
  void set_mask(const std::string& pattern, std::vector<uint8_t> bits);
  // Into out[rows * columns]; the one arithmetic that training, evaluation and export share.
  void decode(float* out) const;
  // Codes inside their range, sizes consistent, scales finite; throws Error(invalid_file).
  void validate(const std::string& name) const;
  // Rows [begin, end) as Codes of their own: to split packed projections (q, k, v).
  Codes row_slice(int64_t begin, int64_t end) const;
};

// One line, e.g. "int_signed b4 g32 f16 h0 [-8,7] +0", then "x0.5" where the unit is not 1, then
// the pattern if there is one; parse undoes it (Error(invalid_file)).
std::string to_string(const CodeFormat& format);
CodeFormat parse_code_format(const std::string& text);

}  // namespace terse
