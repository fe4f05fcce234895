// Snapshot: the model inside a checkpoint, and the way from there to files and back to a model.
//
// A checkpoint holds the fp32 master weights ("model/NAME") and the Codes of every compressed one
// ("codes/NAME", "scales/NAME", text "format/NAME"; "mask/NAME" if it has one), or the mask alone
// of a weight that is only masked ("mask/NAME", text "pattern/NAME"), made once from these weights.
// Evaluation, export and verification all start from the same Artifact, so what is measured is what
// is served:
//
//   training  --save_model-->  checkpoint  --artifact_of-->  Artifact  --write_gguf-->  file
//                                                               |            |
//                                                           model_of      read_artifact
//                                                               v            v
//                                                             Model <--- Artifact
#pragma once
#include <memory>

#include "base/state.h"
#include "export/artifact.h"
#include "trainer/model_shape.h"

namespace terse {

// Puts the weights, the Codes and the masks into a checkpoint, as of the model's latest refresh(),
// which must have been as served. Borrows the weights until it is written.
void save_model(Model& model, StateWriter& state);
// Takes the fp32 master weights back. Error(invalid_file) if one is missing or shaped otherwise.
void load_model(Model& model, const StateReader& state);

// The model of a checkpoint as an Artifact; `checkpoint` is kept alive by it. Unquantized matrices
// come in the type that the forward multiplied with (`compute`), all else in fp32.
Artifact artifact_of(std::shared_ptr<const StateReader> checkpoint, const ModelShape& shape,
                     at::ScalarType compute);

// A model that computes exactly what the Artifact says: Codes are used as they are. `qat` says how
// activations are quantized (weights are not encoded again); default: not at all.
std::unique_ptr<Model> model_of(const Artifact& artifact, const QatOptions& qat,
                                const ComputeOptions& compute);

}  // namespace terse
