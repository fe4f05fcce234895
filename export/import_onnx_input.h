// Internal: what the graph does to a layer's input, read back. The metadata name the format; the
// nodes in front of the layer's product have to compute just that.
#pragma once
#include <optional>
#include <string>

#include "export/onnx.h"
#include "qat/input_format.h"

namespace terse {

// Of the layer of this weight; empty: the file says nothing. Error(invalid_file) where the text is
// no format, or the nodes are others.
std::optional<InputFormat> onnx_input(const OnnxFile& file, const std::string& weight);
// Whether onnx_input() reads this property: "terse.input/NAME".
bool says_onnx_input(const std::string& key);

}  // namespace terse
