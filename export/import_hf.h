// Internal: a Llama out of Hugging Face's layout.
#pragma once
#include <string>

#include "export/artifact.h"

namespace terse {

// The texts that terse's writer put into the tensors' file: Artifact::metadata.
Metadata run_metadata(const SafetensorsFile& file);
// `folder` holds config.json and model.safetensors.
Artifact import_hf(const std::string& folder);

}  // namespace terse
