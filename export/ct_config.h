// Internal: quantization_config of config.json, as compressed-tensors reads it.
#pragma once
#include <string>

#include "export/artifact.h"

namespace terse {

// JSON. One scheme for every linear layer that has Codes is targeted as "Linear", and the others
// are named in `ignore`; several schemes name their layers. Empty where nothing is compressed.
std::string ct_config(const Artifact& artifact);

// "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight".
std::string ct_module(const std::string& weight);

}  // namespace terse
