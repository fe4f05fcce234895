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

// The model of a checkpoint as an Artifact; `checkpoint` is kept alive by it. `qat`: what it was
// trained with, of which the checkpoint does not say how activations were rounded. Unquantized
// matrices come in the type that the forward multiplied with (`compute`), all else in fp32.
Artifact artifact_of(const std::shared_ptr<const StateReader>& checkpoint, const ModelShape& shape,
                     const QatOptions& qat, at::ScalarType compute);

// A model that computes exactly what the Artifact says: Codes are used as they are, inputs are
// rounded where the weights say so. Error(invalid_file) where parts of one product (q, k, v; gate,
// up) are stored or round their input in different ways.
std::unique_ptr<Model> model_of(const Artifact& artifact, const ComputeOptions& compute);

}  // namespace terse
