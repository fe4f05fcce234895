#include "export/format_row.h"
#include "export/llama_archive.h"

namespace terse {
namespace {

Fit holds_all_codes(const CodeFormat&) {
  return {};
}
Fit holds_all(DType) {
  return {};
}
Fit where_sparse(DType) {
  return {Verdict::exact, "where [sparsity] made it N:M; others as they are", 1, 0};
}

}  // namespace

std::vector<FormatRow> archive_rows() {
  return {{.format = {"archive"},
           .engines = {{"terse"}},
           .fit = holds_all_codes,
           .fit_dense = holds_all,
           .write = write_llama_archive,
           .file_name = "model.terse"},
          {.format = {"nm"},
           .engines = {{"terse"}},
           .fit = nm_fit,
           .fit_dense = where_sparse,
           .check = check_nm,
           .write = write_nm,
           .file_name = "nm"}};
}

}  // namespace terse
