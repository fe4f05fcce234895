#include "base/error.h"
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
bool holds_any_input(const ArtifactWeight&) {
  return true;
}
std::vector<std::string> twin_warnings(const Artifact& artifact) {
  if (artifact.act_bits >= 16) return {};
  return {
      fmt::format("trained with {}-bit activations, which the archive says; readers of the dense "
                  "twin do not quantize activations",
                  artifact.act_bits)};
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
           .holds_input = holds_any_input,
           .file_name = "model.terse"},
          {.format = {"nm"},
           .engines = {{"terse"}},
           .fit = nm_fit,
           .fit_dense = where_sparse,
           .check = check_nm,
           .write = write_nm,
           .warnings = twin_warnings,
           .holds_input = holds_any_input,
           .file_name = "nm"}};
}

}  // namespace terse
