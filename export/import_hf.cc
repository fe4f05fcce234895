#include "export/import_hf.h"

#include <charconv>
#include <set>

#include "base/error.h"
#include "export/ct_read_config.h"
#include "export/hf_model.h"
#include "export/import_ct.h"
#include "export/import_end.h"
#include "export/mapped_weight.h"

namespace terse {
namespace {

using Names = std::set<std::string, std::less<>>;

int64_t whole_number(const std::string& path, const std::string& key, const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ExitCode::invalid_file, "{}: \"{}\" is \"{}\", no whole number", path, key, text);
  return value;
}

ArtifactWeight import_dense(const std::shared_ptr<const HfTensors>& tensors,
                            const WeightName& expected, Names& left) {
  const TensorView view = tensors->require(expected.name);
  const bool real =
      view.dtype == DType::f32 || view.dtype == DType::f16 || view.dtype == DType::bf16;
  if (!real)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is {}; only dense F32, F16 and BF16 can be run",
         tensors->path(), expected.name, dtype_name(view.dtype));
  left.erase(expected.name);
  return dense_weight_of(tensors, expected.name, view);
}

// Module of a matrix that readers take for a linear layer; empty for others.
std::string linear_module(const WeightName& weight) {
  constexpr std::string_view kSuffix = ".weight";
  if (weight.shape.size() != 2 || weight.name == "model.embed_tokens.weight" ||
      !weight.name.ends_with(kSuffix))
    return "";
  return weight.name.substr(0, weight.name.size() - kSuffix.size());
}

void add_weights(Artifact& artifact, const std::optional<CtReadConfig>& compressed,
                 const std::shared_ptr<const HfTensors>& tensors) {
  const std::vector<std::string> names = tensors->names();
  // Before as many names are made: a config.json of a few bytes can claim any number.
  if (artifact.shape.layers > static_cast<int64_t>(names.size()))
    fail(ExitCode::invalid_file, "{}: {} layers, but only {} tensors", tensors->path(),
         artifact.shape.layers, names.size());
  Names left(names.begin(), names.end());
  for (const WeightName& expected : llama_weight_names(artifact.shape)) {
    const std::string module = linear_module(expected);
    const CtReadScheme* scheme =
        compressed && !module.empty() ? compressed->scheme_of(module) : nullptr;
    artifact.weights.push_back(scheme == nullptr
                                   ? import_dense(tensors, expected, left)
                                   : import_ct_weight(tensors, module, expected.shape, *scheme,
                                                      compressed->hadamard_of(module), left));
  }
  if (!left.empty())
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is no part of the model", tensors->path(),
         *left.begin());
}

}  // namespace

Metadata run_metadata(const Metadata& stored) {
  Metadata metadata;
  for (const auto& [key, value] : stored)
    if (key.starts_with("terse.") && key != "terse.checksums" && key != "terse.act_bits")
      metadata[key.substr(6)] = value;
  return metadata;
}

Artifact import_hf(std::string_view config, const std::string& path,
                   const std::shared_ptr<const HfTensors>& tensors) {
  const HfModel model = read_hf_model(config, path);
  Artifact artifact;
  artifact.shape = model.shape;
  artifact.tokenizer.bos = model.bos;
  artifact.tokenizer.eos = model.eos;
  artifact.tokenizer.pad = model.pad;
  std::optional<CtReadConfig> compressed;
  if (!model.quantization.empty()) compressed.emplace(model.quantization, path);
  artifact.metadata = run_metadata(tensors->metadata());
  if (const auto bits = tensors->metadata().find("terse.act_bits");
      bits != tensors->metadata().end())
    artifact.act_bits = whole_number(tensors->path(), bits->first, bits->second);
  blame_file(path, [&] {
    check_shape(artifact.shape);  // before its sizes name any weight
    add_weights(artifact, compressed, tensors);
  });
  return finished_import(std::move(artifact), tensors, path);
}

Artifact import_hf(const std::string& folder) {
  const std::string path = folder + "/config.json";
  const std::string config = read_text(path, kMostHfConfig);
  const auto tensors = std::make_shared<const HfTensors>(HfTensors::open(folder));
  tensors->verify_checksums(false);
  Artifact artifact = import_hf(config, path, tensors);
  if (FileSystem::real().exists(folder + "/tokenizer.model"))
    artifact.tokenizer.model = read_text(folder + "/tokenizer.model");
  return artifact;
}

}  // namespace terse
