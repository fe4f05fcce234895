// An N:M sparse matrix in memory, and the product with it: what a server that reads terse's N:M
// files needs, since no engine reads N:M any more.
//
//   const auto file = std::make_shared<ArchiveFile>("nm.terse");
//   const NmMatrix matrix = read_nm_matrix(file, "model.layers.0.mlp.up_proj.weight");
//   nm_multiply(matrix, x, tokens, 0, matrix.rows, y);     // y = x W^T
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/tensor_view.h"
#include "export/archive.h"
#include "export/nm_layout.h"
#include "qat/codes.h"

namespace terse {

struct NmMatrix {
  int64_t rows = 0;
  int64_t columns = 0;
  NmLayout layout;
  std::vector<uint16_t> positions;  // inside the group; rows x columns / M x N
  // What stays, in the same order, as numbers in `dtype` (f32, f16, bf16); or codes, zeros in
  // place.
  DType dtype = DType::f32;
  std::vector<std::byte> values;
  std::optional<Codes> codes;

  int64_t kept() const { return columns / layout.of * layout.keep; }  // of a row
  // The decoded values that stay in a row, kept() floats, with the arithmetic of Codes::decode.
  void row_values(int64_t row, float* out) const;
};

// One weight of an archive that terse wrote. Error(invalid_file) if it is not there or not N:M.
NmMatrix read_nm_matrix(const std::shared_ptr<const ArchiveFile>& file, const std::string& name);

// y[t, r] = sum_c x[t, c] W[r, c] for rows [first, last), fp32, both row-major: x [tokens,
// columns], y [tokens, rows]. An element is one chain of fused multiply-adds in order of the
// columns, so it has the bits of the dense product in that order (for finite x), whatever the rows,
// the tokens beside it and the instruction set. Callers split rows among threads. Cost: N/M of the
// dense product's multiply-adds; vectors run along tokens, 64 at a time, so few tokens gain little.
void nm_multiply(const NmMatrix& matrix, const float* x, int64_t tokens, int64_t first,
                 int64_t last, float* y);

}  // namespace terse
