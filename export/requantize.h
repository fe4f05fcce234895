// `terse export --requantize`: what a format cannot hold exactly is encoded anew, by the format's
// own rule (export/post_training.h). That changes the model; the file's metadata and `terse verify`
// say so.
#pragma once
#include <string>

#include "export/artifact.h"
#include "export/format_row.h"

namespace terse {

// The artifact with every matrix replaced that `row` cannot hold: codes decoded (and rotated back
// where they are rotated), and these values, or a dense matrix inside a layer, encoded as
// row.requantize_as says; dense matrices beside codes were left alone in training and stay. Codes
// that fit stay where only their input does not, which becomes row.requantize_input; an artifact
// that fits stays as it is. Metadata key "requantized": the format's name, only where something was
// replaced. Made on demand, as all of an Artifact; deterministic. Error(usage) if the row has
// nothing to encode to.
Artifact requantized(const Artifact& artifact, const FormatRow& row);

// The metadata key, and the format's name in it; empty where nothing was encoded anew.
std::string requantized_as(const Metadata& metadata);

}  // namespace terse
