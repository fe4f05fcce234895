// A checkpoint as a finished run leaves it, of random weights.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include "export/artifact.h"
#include "qat/codes.h"
#include "trainer/checkpoint/checkpoint.h"

namespace terse {

// Writes one into the folder `run`: fp32 weights of a Llama (packed, as trainer/snapshot.h says)
// from a normal distribution, and Codes in `format` of its layers' matrices, if there is a format;
// no optimizer. All tensors borrow from the same few numbers, so that memory is that of the largest
// tensor whatever the model's size; their bytes in the file are their own.
void write_synthetic_run(const std::string& run, const LlamaShape& shape,
                         const std::optional<CodeFormat>& format);

// Opened and verified, as `terse export` does.
std::shared_ptr<Checkpoint> open_synthetic_run(const std::string& run);

// What an export of `artifact` reads of its checkpoint: codes and scales, or fp32 weights.
int64_t checkpoint_bytes_of(const Artifact& artifact);

// Bytes of the largest tensor of the model, in fp32 as the checkpoint holds it.
int64_t largest_tensor(const LlamaShape& shape);

}  // namespace terse
