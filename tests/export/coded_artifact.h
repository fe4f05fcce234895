// A small random Llama whose layers' matrices are Codes on any grid.
#pragma once
#include <optional>
#include <string>

#include "tests/export/sample_artifact.h"

namespace terse {

// What a layer is to be; no format: dense.
struct CodedLayer {
  std::optional<CodeFormat> format;
  std::optional<InputFormat> input = {};
};

// Integers of `bits`, in groups of 32 (0: a scale a row, -1: of the matrix).
CodeFormat int_format(int bits, int64_t group = 32, ScaleType scale = ScaleType::f16);
CodeFormat half_int_format(int bits);
CodeFormat nvfp4_format();
CodeFormat mxfp4_format();

// Random codes over the whole range of the format, random scales of its type.
Codes random_codes(const CodeFormat& format, int64_t rows, int64_t columns, uint64_t seed);

// `layer` decides for each matrix of a layer, by the weight's name.
Artifact coded_artifact(const std::function<CodedLayer(const std::string& name)>& layer,
                        SampleOptions options = {});
// All layers alike.
Artifact coded_artifact(const CodeFormat& format, std::optional<InputFormat> input = {});

}  // namespace terse
