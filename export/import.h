// Exported files read back, by code of their own: neither names nor row orders are shared with the
// writers, so that `verify` is a check and not an echo.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "export/artifact.h"

namespace terse {

// A GGUF file (what was stored as codes becomes Codes again: the same codes and scales; rows of q
// and k back in Hugging Face's order), or a Hugging Face folder (config.json and model.safetensors)
// of dense weights. Checksums are verified where the file has them. Error(invalid_file) for
// anything that is no Llama that terse can run. The artifact maps the file: memory for one tensor
// at a time.
Artifact read_artifact(const std::string& path);

struct VerifyResult {
  int64_t tensors = 0;
  int64_t equal = 0;
  std::vector<std::string> different;  // names, in the order of the artifact; missing ones included
};
std::string to_json(const VerifyResult& result);  // {"tensors", "equal", "different": [...]}

// Decodes every tensor of the file at `path` (GGUF, a safetensors file or a folder with
// model.safetensors) and compares with the artifact's effective values, bit for bit but that the
// sign of a zero does not count; and what the file says of a layer's input with what the artifact
// does. A file that cannot be read at all, or with tensors that the model lacks, is an
// Error(invalid_file).
VerifyResult verify_file(const std::string& path, const Artifact& artifact);

}  // namespace terse
