// Internal: weights out of compressed-tensors' layouts.
#pragma once
#include <memory>
#include <set>
#include <string>

#include "export/artifact.h"
#include "export/ct_read_config.h"
#include "export/hf_tensors.h"

namespace terse {

// The weight of a linear layer that `scheme` applies to, as Codes on the grid "int_signed" or
// "fp4". Takes the names of the tensors it consists of out of `left`. Error(invalid_file) where
// they are missing or of another type or shape; codes and scales are checked when they are made.
ArtifactWeight import_ct_weight(const std::shared_ptr<const HfTensors>& tensors,
                                const std::string& module, const std::vector<int64_t>& shape,
                                const CtReadScheme& scheme, int64_t hadamard,
                                std::set<std::string, std::less<>>& left);

}  // namespace terse
