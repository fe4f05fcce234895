#include "export/nm_matrix.h"

#include <algorithm>

#include "base/error.h"
#include "base/isa.h"
#include "export/import_archive.h"
#include "export/kernels/declarations.h"

namespace terse {
namespace {

constexpr int64_t kTokens = 64;    // as the kernel
constexpr int64_t kRows = 16;      // of results that are transposed together
constexpr int64_t kColumns = 128;  // of packed input at a time: 32 KiB, a first-level cache

// Rows of values for one call, decoded once.
std::vector<float> decode_rows(const NmMatrix& matrix, int64_t first, int64_t last) {
  std::vector<float> values(static_cast<size_t>((last - first) * matrix.kept()));
  for (int64_t r = first; r < last; ++r)
    matrix.row_values(r, values.data() + (r - first) * matrix.kept());
  return values;
}

// x [tokens, columns] -> packed [columns][64]; tokens beyond the last are 0.
void pack_tokens(const float* x, int64_t tokens, int64_t columns, float* packed) {
  std::fill(packed, packed + columns * kTokens, 0.0f);
  for (int64_t c = 0; c < columns; c += kRows)
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t k = c; k < std::min(c + kRows, columns); ++k)
        packed[k * kTokens + t] = x[t * columns + k];
}

void store_transposed(const float* sums, int64_t rows, int64_t tokens, int64_t stride, float* y) {
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t r = 0; r < rows; ++r) y[t * stride + r] = sums[r * kTokens + t];
}

}  // namespace

void NmMatrix::row_values(int64_t row, float* out) const {
  const int64_t n = kept();
  if (!codes) {
    const int64_t width = dtype_size(dtype);
    return widen_to_float(dtype,
                          std::span(values).subspan(static_cast<size_t>(row * n * width),
                                                    static_cast<size_t>(n * width)),
                          out);
  }
  std::vector<float> all(static_cast<size_t>(columns));
  codes->row_slice(row, row + 1).decode(all.data());
  for (int64_t i = 0; i < n; ++i)
    out[i] = all[static_cast<size_t>(i / layout.keep * layout.of +
                                     positions[static_cast<size_t>(row * n + i)])];
}

NmMatrix read_nm_matrix(const std::shared_ptr<const ArchiveFile>& file, const std::string& name) {
  const auto layout = archive_layout(*file, name);
  if (!layout) fail(ExitCode::invalid_file, "{}: \"{}\" is not N:M", file->path(), name);
  const ArtifactWeight weight = archive_weight(file, name);
  NmMatrix matrix;
  matrix.rows = weight.shape[0];
  matrix.columns = weight.shape[1];
  matrix.layout = *layout;
  matrix.positions = archive_positions(*file, name, *layout, matrix.rows, matrix.columns);
  matrix.dtype = weight.dtype;
  if (weight.compressed())
    matrix.codes = weight.codes();
  else
    matrix.values = archive_bytes(*file, *file->find(name + "/values"));
  return matrix;
}

void nm_multiply(const NmMatrix& matrix, const float* x, int64_t tokens, int64_t first,
                 int64_t last, float* y) {
  TERSE_CHECK(0 <= first && first <= last && last <= matrix.rows, "rows [{}, {})", first, last);
  const NmLayout& layout = matrix.layout;
  const int64_t kept = matrix.kept(), groups = matrix.columns / layout.of;
  const int64_t step = std::max(kColumns / layout.of, int64_t{1});  // groups at a time
  const std::vector<float> values = decode_rows(matrix, first, last);
  std::vector<float> packed(static_cast<size_t>(matrix.columns * kTokens));
  std::vector<float> sums(static_cast<size_t>((last - first) * kTokens));
  for (int64_t t = 0; t < tokens; t += kTokens) {
    const int64_t count = std::min(kTokens, tokens - t);
    pack_tokens(x + t * matrix.columns, count, matrix.columns, packed.data());
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (int64_t g = 0; g < groups; g += step)
      for (int64_t r = first; r < last; ++r)
        TERSE_DISPATCH(nm_product(values.data() + (r - first) * kept + g * layout.keep,
                                  matrix.positions.data() + r * kept + g * layout.keep,
                                  std::min(step, groups - g), layout.keep, layout.of,
                                  packed.data() + g * layout.of * kTokens,
                                  sums.data() + (r - first) * kTokens));
    for (int64_t r = first; r < last; r += kRows)
      store_transposed(sums.data() + (r - first) * kTokens, std::min(kRows, last - r), count,
                       matrix.rows, y + t * matrix.rows + r);
  }
}

}  // namespace terse
