// What readers of compressed-tensors do not do as the training did.
#include <map>
#include <set>

#include "base/error.h"
#include "export/compressed_tensors.h"
#include "export/ct_config.h"
#include "export/ct_scheme.h"

namespace terse {
namespace {

// Layers that vLLM runs as one product.
const char* fused_name(const std::string& projection) {
  static const std::map<std::string, const char*> fused = {{"q_proj", "qkv_proj"},
                                                           {"k_proj", "qkv_proj"},
                                                           {"v_proj", "qkv_proj"},
                                                           {"gate_proj", "gate_up_proj"},
                                                           {"up_proj", "gate_up_proj"}};
  const auto found = fused.find(projection);
  return found == fused.end() ? nullptr : found->second;
}

// "model.layers.0.self_attn.qkv_proj: w4a16, BF16"
std::map<std::string, std::set<std::string>> mixed_layers(const Artifact& artifact) {
  std::map<std::string, std::set<std::string>> schemes;
  for (const ArtifactWeight& weight : artifact.weights) {
    if (weight.shape.size() != 2) continue;
    const std::string module = ct_module(weight.name);
    const size_t dot = module.rfind('.');
    const char* fused = fused_name(module.substr(dot + 1));
    if (fused == nullptr) continue;
    std::string name(dtype_name(weight.dtype));
    if (weight.compressed()) {
      const CtScheme scheme = ct_scheme(weight);
      name = fmt::format("{} group {}", ct_name(scheme), scheme.group);
    }
    schemes[fmt::format("{}.{}", module.substr(0, dot), fused)].insert(name);
  }
  std::erase_if(schemes, [](const auto& layer) { return layer.second.size() == 1; });
  return schemes;
}

void add_fused(const Artifact& artifact, std::vector<std::string>& warnings) {
  const auto mixed = mixed_layers(artifact);
  if (mixed.empty()) return;
  const auto& [layer, names] = *mixed.begin();
  warnings.push_back(
      fmt::format("{} of one product in vLLM have different schemes ({}); it demands one for q, k "
                  "and v and one for gate and up{}",
                  layer, fmt::join(names, ", "),
                  mixed.size() == 1 ? "" : fmt::format(" ({} such layers)", mixed.size())));
}

}  // namespace

std::vector<std::string> compressed_tensors_warnings(const Artifact& artifact) {
  std::set<std::string> notes;
  bool rounds = false;
  for (const ArtifactWeight& weight : artifact.weights) {
    if (!weight.compressed()) continue;
    const CtScheme s = ct_scheme(weight);
    rounds = rounds || s.input_bits < 16;
    if (s.input_static && s.format == "pack-quantized")
      notes.insert(fmt::format(
          "vLLM has no scheme for {} with one scale for all inputs and refuses it", ct_name(s)));
    else if (s.input_bits < 16 && s.format == "pack-quantized")
      notes.insert(fmt::format(
          "vLLM leaves inputs of {} unrounded unless Humming is its linear backend (pip install "
          "humming-kernels, --linear-backend humming)",
          ct_name(s)));
    if (s.input_fp4)
      notes.insert(fmt::format(
          "vLLM rounds inputs of {} on GPUs that multiply fp4 (Blackwell); on others it runs the "
          "weights alone",
          ct_name(s)));
    if (s.input_bits < 16)
      notes.insert("transformers rounds inputs only without CompressedTensorsConfig(dequantize)");
    if (s.hadamard > 0 && weight.name == "lm_head.weight")
      notes.insert(
          "vLLM does not rotate inputs of lm_head; leave it alone: [qat] ignore = [\"lm_head\"]");
    if (s.hadamard > 0)
      notes.insert(
          "transformers rotates inputs only after apply_transform_config(model, "
          "TransformConfig(**transform_config)); docs/howto.md shows how");
    if (s.format != "pack-quantized") continue;
    if (s.bits == 1) notes.insert("vLLM reads 2 to 8 bits, not 1");
    if (s.bits != 1 && s.bits != 2 && s.bits != 4 && s.bits != 8)
      notes.insert(
          fmt::format("{} bits need compressed-tensors of June 2026 or later: older ones left "
                      "unused bits in each word",
                      s.bits));
    if (s.group != 0 && s.group != 32 && s.group != 64 && s.group != 128)
      notes.insert(fmt::format(
          "vLLM's kernels share a scale among 32, 64 or 128 columns or a row, not {}", s.group));
  }
  std::vector<std::string> warnings(notes.begin(), notes.end());
  if (artifact.act_bits < 16 && !rounds)
    warnings.push_back(
        fmt::format("trained with {}-bit activations on a grid that readers do not compute; the "
                    "folder leaves inputs unrounded",
                    artifact.act_bits));
  add_fused(artifact, warnings);
  return warnings;
}

}  // namespace terse
