// Internal: a Llama out of Hugging Face's layout, dense or compressed-tensors.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "export/artifact.h"
#include "export/hf_tensors.h"

namespace terse {

// The texts that terse's writer put into the tensors' file: Artifact::metadata.
Metadata run_metadata(const Metadata& stored);
// `folder` holds config.json and the tensors; checksums are verified where there are any.
Artifact import_hf(const std::string& folder);
// The same of a config.json and tensors in memory. `path` stands for config.json in messages.
Artifact import_hf(std::string_view config, const std::string& path,
                   const std::shared_ptr<const HfTensors>& tensors);

}  // namespace terse
