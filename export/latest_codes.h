// Internal: tensors of a weight that are written one behind the other share its Codes.
#pragma once
#include "export/artifact.h"

namespace terse {

// Makes the Codes of one weight at a time, once for as long as the same weight is asked for.
class LatestCodes {
 public:
  const Codes& of(const ArtifactWeight& weight) {
    if (weight_ != &weight) {
      weight_ = nullptr;
      codes_ = {};  // before the next ones are made
      codes_ = weight.codes();
      weight_ = &weight;
    }
    return codes_;
  }

 private:
  const ArtifactWeight* weight_ = nullptr;
  Codes codes_;
};

}  // namespace terse
