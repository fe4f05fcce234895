// Any bytes, config.json then 0 then safetensors: an Error, or a model all of whose weights can be
// made. Dense tensors and every layout of compressed-tensors.
#include <cstring>
#include <memory>

#include "base/error.h"
#include "export/import_hf.h"
#include "tests/fuzz/live_memory.h"

namespace {

void make_all(std::string_view config, std::span<const std::byte> bytes) {
  std::vector<terse::SafetensorsFile> files;
  files.emplace_back(bytes, "fuzz");
  const auto tensors = std::make_shared<const terse::HfTensors>(std::move(files), "fuzz");
  const terse::Artifact artifact = terse::import_hf(config, "config.json", tensors);
  for (const terse::ArtifactWeight& weight : artifact.weights) terse::effective_values(weight);
  tensors->verify_checksums(false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const terse::LiveMemory limit(size);
  const void* end = size == 0 ? nullptr : std::memchr(data, 0, size);
  if (end == nullptr) return 0;
  const auto length = static_cast<size_t>(static_cast<const uint8_t*>(end) - data);
  // Aligned, as a mapped file is.
  std::vector<uint64_t> memory((size - length - 1 + 7) / 8);
  const size_t rest = size - length - 1;
  if (rest > 0) std::memcpy(memory.data(), data + length + 1, rest);
  try {
    make_all({reinterpret_cast<const char*>(data), length},
             std::as_bytes(std::span(memory)).first(rest));
  } catch (const terse::Error&) {
  }
  return 0;
}
