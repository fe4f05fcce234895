#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/import.h"

namespace terse {
namespace {

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace

VerifyResult verify_file(const std::string& path, const Artifact& artifact) {
  StoredTensors stored = reader_of(path).stored(path, artifact.shape);
  VerifyResult result;
  for (const ArtifactWeight& weight : artifact.weights) {
    ++result.tensors;
    const auto found = stored.find(weight.name);
    const bool equal = found != stored.end() && found->second.shape == weight.shape &&
                       same_bits(found->second.values(), effective_values(weight));
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
