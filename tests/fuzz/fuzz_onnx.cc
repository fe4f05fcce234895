// Any bytes: an Error, or a model all of whose weights can be made.
#include <memory>

#include "base/error.h"
#include "export/import_onnx.h"
#include "tests/fuzz/live_memory.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const terse::LiveMemory limit(size);
  try {
    const auto file =
        std::make_shared<const terse::OnnxFile>(std::as_bytes(std::span(data, size)), "fuzz");
    for (const std::string& name : terse::onnx_weights(*file)) try {
        terse::effective_values(terse::onnx_weight(file, name));
      } catch (const terse::Error&) {
      }
    terse::import_onnx(file);
    file->verify_checksums(false);
  } catch (const terse::Error&) {
  }
  return 0;
}
