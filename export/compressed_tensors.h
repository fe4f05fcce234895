// A Llama in the compressed-tensors layout: a Hugging Face folder whose linear layers are packed
// codes and scales, which transformers and vLLM open. docs/formats.md has the bytes.
//
// Any mixture of layers, straight from Codes, streamed: integers of 1 to 8 bits
// ("pack-quantized"), int8 with int8 inputs ("int-quantized"), NVFP4 and MXFP4. Masked weights are
// dense zeros: readers no longer know sparse layouts. How inputs are rounded
// (ArtifactWeight::input) and rotated goes into config.json.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "export/artifact.h"

namespace terse {

// What the family "compressed-tensors" offers: "" = whatever the Codes are; the others demand that
// every compressed layer is of this scheme: "w4a16", "w8a8", "w4a4-hadamard", "nvfp4", ...
const std::vector<std::string>& compressed_tensors_types();
// Error(usage) for what the layout cannot hold exactly, or what `type` is not.
void check_compressed_tensors(const Artifact& artifact, const std::string& type);
// Calls the check. `folder` must be missing or empty; comes to be by one rename.
void write_compressed_tensors(FileSystem& fs, const Artifact& artifact, const std::string& type,
                              const std::string& folder, int64_t shard_bytes);
// What readers are known to ignore or to refuse.
std::vector<std::string> compressed_tensors_warnings(const Artifact& artifact);

}  // namespace terse
