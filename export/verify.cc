#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/import.h"

namespace terse {

// A scale stored negated gives zero the other sign.
bool same_values(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  if (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0) return true;
  for (size_t i = 0; i < a.size(); ++i) {
    const auto left = std::bit_cast<uint32_t>(a[i]), right = std::bit_cast<uint32_t>(b[i]);
    if (left != right && ((left | right) << 1) != 0) return false;
  }
  return true;
}

VerifyResult verify_file(const std::string& path, const Artifact& artifact) {
  StoredTensors stored = reader_of(path).stored(path, artifact.shape);
  VerifyResult result;
  for (const ArtifactWeight& weight : artifact.weights) {
    ++result.tensors;
    const auto found = stored.find(weight.name);
    const bool equal = found != stored.end() && found->second.shape == weight.shape &&
                       (!found->second.input || found->second.input == weight.input) &&
                       same_values(found->second.values(), effective_values(weight));
    if (equal) ++result.equal;
    if (!equal) result.different.push_back(weight.name);
    if (found != stored.end()) stored.erase(found);
  }
  if (!stored.empty())
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is no part of the model", path,
         stored.begin()->first);
  return result;
}

std::string to_json(const VerifyResult& result) {
  return nlohmann::ordered_json{
      {"tensors", result.tensors}, {"equal", result.equal}, {"different", result.different}}
      .dump();
}

}  // namespace terse
