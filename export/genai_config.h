// Internal: genai_config.json, by which ONNX Runtime GenAI runs a decoder.
#pragma once
#include <string>

#include "export/artifact.h"

namespace terse {

std::string genai_config(const Artifact& artifact, const std::string& type);

}  // namespace terse
