// Any bytes: an Error, or a file all of whose tensors decode; and if it is a Llama, one whose
// weights can all be made.
#include <memory>

#include "base/error.h"
#include "export/gguf.h"
#include "export/import_gguf.h"
#include "tests/fuzz/live_memory.h"

namespace {

void decode_all(const terse::GgufFile& file) {
  for (const terse::GgufTensor& tensor : file.tensors()) {
    if (terse::gguf_block_info(tensor.type)->decode == nullptr) continue;
    std::vector<float> values(static_cast<size_t>(tensor.numel()));
    terse::gguf_decode(tensor, values.data());
    terse::gguf_codes(tensor);
  }
}

void make_all(const std::shared_ptr<const terse::GgufFile>& file) {
  const terse::Artifact artifact = terse::import_gguf(file);
  for (const terse::ArtifactWeight& weight : artifact.weights) terse::effective_values(weight);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const terse::LiveMemory limit(size);
  try {
    const auto file =
        std::make_shared<const terse::GgufFile>(std::as_bytes(std::span(data, size)), "fuzz");
    decode_all(*file);
    make_all(file);
    file->verify_checksums(false);
  } catch (const terse::Error&) {
  }
  return 0;
}
