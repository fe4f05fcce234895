// Internal: genai_config.json, by which ONNX Runtime GenAI runs a decoder.
#pragma once
#include <string>

#include "export/artifact.h"

namespace terse {

// Whether ONNX Runtime multiplies int8 codes of inputs and weights, in the file of this type.
bool onnx_multiplies_codes(const Artifact& artifact, const std::string& type);
std::string genai_config(const Artifact& artifact, const std::string& type);

}  // namespace terse
