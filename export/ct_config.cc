#include "export/ct_config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "export/ct_scheme.h"

namespace terse {
namespace {

using nlohmann::ordered_json;

constexpr const char* kOutput = "lm_head";

struct Layers {
  std::map<CtScheme, std::vector<std::string>> by_scheme;  // modules in forward order
  std::vector<std::string> plain;                          // linear layers without Codes
};

Layers layers_of(const Artifact& artifact) {
  Layers layers;
  for (const ArtifactWeight& weight : artifact.weights) {
    if (weight.shape.size() != 2 || weight.name == "model.embed_tokens.weight") continue;
    if (weight.compressed())
      layers.by_scheme[ct_scheme(weight)].push_back(ct_module(weight.name));
    else
      layers.plain.push_back(ct_module(weight.name));
  }
  return layers;
}

// One scheme is that of the class; but in vLLM the output matrix is of a class of its own and found
// by name. Rotated it is not named: vLLM would multiply it with inputs as they are, and so it
// refuses.
ordered_json targets_json(const CtScheme& scheme, const std::vector<std::string>& modules,
                          bool one) {
  if (!one) return modules;
  ordered_json targets = ordered_json::array({"Linear"});
  if (scheme.hadamard == 0 && std::ranges::find(modules, kOutput) != modules.end())
    targets.push_back(kOutput);
  return targets;
}

ordered_json weights_json(const CtScheme& s) {
  ordered_json json = {{"num_bits", s.bits},
                       {"type", s.fp4() ? "float" : "int"},
                       {"symmetric", true},
                       {"strategy", s.strategy},
                       {"dynamic", false}};
  if (s.group > 0) json["group_size"] = s.group;
  if (s.format == "nvfp4-pack-quantized") json["scale_dtype"] = "torch.float8_e4m3fn";
  if (s.format == "mxfp4-pack-quantized") json["scale_dtype"] = "torch.uint8";
  return json;
}

ordered_json input_json(const CtScheme& s) {
  if (s.input_bits >= 16) return nullptr;
  if (s.input_fp4) {
    ordered_json json = weights_json(s);
    // The field's word for scales that are dynamic but for the tensor's.
    if (s.strategy == "tensor_group")
      json["dynamic"] = "local";
    else
      json["dynamic"] = true;
    return json;
  }
  return {{"num_bits", s.input_bits},
          {"type", "int"},
          {"symmetric", true},
          {"strategy", s.input_static ? "tensor" : "token"},
          {"dynamic", !s.input_static}};
}

// The rotation of the input alone: the weights are stored rotated.
ordered_json transform_json(const Layers& layers) {
  std::map<int64_t, std::vector<std::string>> by_block;
  bool all = true;
  for (const auto& [scheme, modules] : layers.by_scheme) {
    if (scheme.hadamard == 0)
      all = false;
    else
      by_block[scheme.hadamard].insert(by_block[scheme.hadamard].end(), modules.begin(),
                                       modules.end());
  }
  ordered_json groups = ordered_json::object();
  for (const auto& [block, modules] : by_block) {
    const bool whole = all && by_block.size() == 1;
    const ordered_json apply = {
        {"targets", whole ? ordered_json::array({"Linear"}) : ordered_json(modules)},
        {"location", "input"},
        {"inverse", false},
        {"ignore", whole ? ordered_json(layers.plain) : ordered_json::array()}};
    groups[fmt::format("hadamard_{}", block)] = {{"type", "hadamard"},
                                                 {"apply", ordered_json::array({apply})},
                                                 {"head_dim", block},
                                                 {"randomize", false},
                                                 {"requires_grad", false}};
  }
  return groups;
}

}  // namespace

std::string ct_module(const std::string& weight) {
  constexpr std::string_view kSuffix = ".weight";
  TERSE_CHECK(weight.ends_with(kSuffix), "{}", weight);
  return weight.substr(0, weight.size() - kSuffix.size());
}

std::string ct_config(const Artifact& artifact) {
  const Layers layers = layers_of(artifact);
  if (layers.by_scheme.empty()) return "";
  const bool one = layers.by_scheme.size() == 1;
  ordered_json groups = ordered_json::object();
  std::set<std::string> formats;
  for (const auto& [scheme, modules] : layers.by_scheme) {
    formats.insert(scheme.format);
    groups[fmt::format("group_{}", groups.size())] = {
        {"targets", targets_json(scheme, modules, one)},
        {"weights", weights_json(scheme)},
        {"input_activations", input_json(scheme)},
        {"output_activations", nullptr},
        // Without it readers take every scheme that rounds inputs for int-quantized.
        {"format", scheme.format}};
  }
  ordered_json json = {
      {"quant_method", "compressed-tensors"},
      {"format", formats.size() == 1 ? *formats.begin() : std::string("mixed-precision")},
      {"quantization_status", "compressed"},
      {"config_groups", groups},
      {"ignore", layers.plain},
      {"kv_cache_scheme", nullptr},
      {"global_compression_ratio", nullptr}};
  const ordered_json transforms = transform_json(layers);
  if (!transforms.empty()) json["transform_config"] = {{"config_groups", transforms}};
  return json.dump();
}

}  // namespace terse
