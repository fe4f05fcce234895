// Internal: a Llama out of Hugging Face's layout.
#pragma once
#include <string>

#include "export/artifact.h"

namespace terse {

// `folder` holds config.json and model.safetensors.
Artifact import_hf(const std::string& folder);

}  // namespace terse
