// A Llama as a GGUF file that llama.cpp runs: metadata, tokenizer, names, and the row order of q
// and k.
//
// Hugging Face rotates element j of a head with element j + head/2, llama.cpp element 2j with 2j +
// 1, so rows of q and k move: stored row h * d + 2 j + i holds row h * d + i * d/2 + j (d = head
// size). Codes and scales of a row move together. Norms are stored as F32; every other tensor in
// the type that the format asks for, or that holds it exactly and smallest.
#pragma once
#include <string>

#include "base/file_system.h"
#include "export/artifact.h"
#include "export/gguf_pack.h"

namespace terse {

// The packing of one weight. `type` as in ExportFormat; Error(usage) if the weight cannot be stored
// so.
const GgufPacking& choose_packing(const ArtifactWeight& weight, const std::string& type);

// Error(usage) for whatever write_gguf would refuse.
void check_gguf(const Artifact& artifact, const std::string& type);

// Writes the file. `type` as in ExportFormat.
void write_gguf(FileSystem& fs, const Artifact& artifact, const std::string& type,
                const std::string& path);

}  // namespace terse
