// Internal: a Llama out of an ONNX graph that terse wrote.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "export/artifact.h"
#include "export/onnx.h"

namespace terse {

Artifact import_onnx(const std::shared_ptr<const OnnxFile>& file);

// What the writer said of the run: Artifact::metadata.
Metadata onnx_run_metadata(const OnnxFile& file);
// The weights: initializers of Hugging Face's names, each read as the node that takes it says.
std::vector<std::string> onnx_weights(const OnnxFile& file);
// Error(invalid_file) if it is damaged, or if no node that terse knows takes it.
ArtifactWeight onnx_weight(const std::shared_ptr<const OnnxFile>& file, const std::string& name);

// Names of the initializers that stand beside its codes: scales and zero points.
std::vector<std::string> onnx_beside(const OnnxFile& file, const std::string& name);

}  // namespace terse
