// Internal: the JSON files of a Hugging Face folder beside its tensors.
#pragma once
#include <string>

#include "export/artifact.h"

namespace terse {

// config.json. `dtype`: what transformers loads floating-point tensors as ("float32", ...).
// `quantization`: JSON of quantization_config, or empty.
std::string hf_config(const Artifact& artifact, const std::string& dtype,
                      const std::string& quantization);
std::string hf_generation_config(const Artifact& artifact);

}  // namespace terse
