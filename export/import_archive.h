// Internal: a Llama out of terse's archive.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "export/archive.h"
#include "export/artifact.h"
#include "export/nm_layout.h"

namespace terse {

Artifact import_archive(const std::shared_ptr<const ArchiveFile>& file);

// What the writer said of the run: Artifact::metadata.
Metadata archive_run_metadata(const ArchiveFile& file);
// Names of the weights in the file, in its order.
std::vector<std::string> archive_weights(const ArchiveFile& file);
// The tensors that a weight consists of: itself, or its codes, scales, places, ...
std::vector<const ArchiveTensor*> archive_parts(const ArchiveFile& file, const std::string& name);
// A single weight; Error(invalid_file) if it is damaged or not there.
ArtifactWeight archive_weight(const std::shared_ptr<const ArchiveFile>& file,
                              const std::string& name);

// Parts of a weight, for those who use them as they are (export/nm_matrix.h).
std::optional<NmLayout> archive_layout(const ArchiveFile& file, const std::string& name);
std::vector<uint16_t> archive_positions(const ArchiveFile& file, const std::string& name,
                                        const NmLayout& layout, int64_t rows, int64_t columns);
std::vector<std::byte> archive_bytes(const ArchiveFile& file, const ArchiveTensor& tensor);

}  // namespace terse
