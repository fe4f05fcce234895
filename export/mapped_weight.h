// Internal: dense weights that lie in a mapped file.
#pragma once
#include <memory>
#include <string>
#include <utility>

#include "export/artifact.h"

namespace terse {

// Keeps the file open, and releases the weight's pages once they were read.
template <typename File>
ArtifactWeight dense_weight_of(std::shared_ptr<const File> file, std::string name,
                               const TensorView& view) {
  ArtifactWeight weight = dense_weight(std::move(name), view);
  weight.bytes = [file = std::move(file), data = view.data](const ByteSink& sink) {
    sink(data);
    file->release(data);
  };
  return weight;
}

}  // namespace terse
