// Packed projections: the model multiplies q, k, v (and gate, up) by one matrix each; files hold
// them apart, under Hugging Face's names. This is the one place that knows the correspondence.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "export/artifact.h"
#include "trainer/model/options.h"

namespace terse {

// Rows [begin, end) of the model's parameter `name` are the file's tensor `part`.
struct PackedPart {
  std::string part;
  int64_t begin = 0;
  int64_t end = 0;
};

// The parts of a parameter, in row order; a parameter that is not packed is its own single part.
// `rows`: its number of rows.
std::vector<PackedPart> parts_of(const LlamaOptions& options, const std::string& name,
                                 int64_t rows);

// All parameters of a Llama of these options with their shapes, in forward order, packed as the
// model holds them: known without building it.
std::vector<WeightName> packed_weights(const LlamaOptions& options);

}  // namespace terse
