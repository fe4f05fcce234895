// A Llama in terse's archive (export/archive.h), in two forms that one reader reads:
//
//   archive   one file, losslessly coded: every representation as it is, codes, masks and rotations
//             included; to keep runs, not to serve them
//   nm        a folder: nm.terse, whose N:M sparse matrices hold only what stays and where, plain
//             bits that a matmul can use (export/nm_matrix.h); and beside it the dense twin, a
//             Hugging Face folder, for engines, none of which reads N:M
//
// docs/formats.md says which tensors a weight becomes.
#pragma once
#include <string>

#include "base/file_system.h"
#include "export/artifact.h"
#include "export/verdict.h"

namespace terse {

inline constexpr const char* kNmFile = "nm.terse";

void write_llama_archive(FileSystem& fs, const Artifact& artifact, const std::string& path);

// Whether Codes of this format can stand in an nm folder, twin included.
Fit nm_fit(const CodeFormat& format);
// Error(usage): no matrix is N:M, or the twin is not possible.
void check_nm(const Artifact& artifact);
// `folder` must be missing or empty. Atomic.
void write_nm(FileSystem& fs, const Artifact& artifact, const std::string& folder);

}  // namespace terse
