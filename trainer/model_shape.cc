#include "trainer/model_shape.h"

#include <fmt/format.h>

#include "base/error.h"
#include "trainer/model/llama.h"
#include "trainer/model/vit.h"
#include "trainer/packing.h"

namespace terse {
namespace {

VitOptions options_of(const VitShape& s) {
  return {.layers = s.layers,
          .width = s.width,
          .heads = s.heads,
          .hidden = s.hidden,
          .patch = s.patch,
          .channels = s.channels,
          .image_height = s.image_height,
          .image_width = s.image_width,
          .classes = s.classes,
          .top = s.top,
          .norm_eps = s.norm_eps};
}

VitShape vit_shape(const ModelOptions& options, const DataFiles& data) {
  const ImageShape& image = *data.image;
  if (image.height % options.patch != 0 || image.width % options.patch != 0)
    fail(ExitCode::usage,
         "[model] patch = {} does not divide the {} x {} pixels of the images in {}", options.patch,
         image.height, image.width, data.valid);
  const LlamaOptions& o = options.llama;
  return {.layers = o.layers,
          .width = o.width,
          .heads = o.heads,
          .hidden = o.hidden,
          .patch = options.patch,
          .channels = image.channels,
          .image_height = image.height,
          .image_width = image.width,
          .classes = image.classes,
          .top = image.top,
          .norm_eps = o.norm_eps};
}

std::string without_suffix(const std::string& name) {
  constexpr std::string_view kSuffix = ".weight";
  TERSE_CHECK(name.ends_with(kSuffix), "{}", name);
  return name.substr(0, name.size() - kSuffix.size());
}

std::vector<ModelWeight> weights_of(const LlamaShape& shape) {
  const LlamaOptions options = options_of(shape);
  std::vector<ModelWeight> all;
  for (const WeightName& packed : packed_weights(options)) {
    ModelWeight weight{packed.name, packed.shape, packed.shape.size() == 2, "", {}};
    if (weight.product && packed.name != "model.embed_tokens.weight")
      weight.layer = without_suffix(packed.name);
    for (const PackedPart& part : parts_of(options, packed.name, packed.shape.front())) {
      std::vector<int64_t> rows = packed.shape;
      rows.front() = part.end - part.begin;
      weight.files.push_back({part.part, part.begin, part.end, std::move(rows)});
    }
    all.push_back(std::move(weight));
  }
  return all;
}

// Files hold what the model holds, tables and convolutions in timm's shapes.
std::vector<ModelWeight> weights_of(const VitShape& shape) {
  std::vector<ModelWeight> all;
  for (const WeightName& file : vit_weight_names(shape)) {
    std::vector<int64_t> held = file.shape;
    if (held.size() == 3) held.erase(held.begin());  // of one
    if (held.size() == 2 && file.name == "cls_token") held.erase(held.begin());
    int64_t columns = 1;
    for (size_t i = 1; i < held.size(); ++i) columns *= held[i];
    if (held.size() > 1) held = {held.front(), columns};
    const bool product = file.shape.size() == 2 || file.shape.size() == 4;
    // The embedding of patches is a convolution in files, and no layer that [qat] may touch.
    const std::string layer = file.shape.size() == 2 ? without_suffix(file.name) : "";
    all.push_back({file.name, held, product, layer, {{file.name, 0, held.front(), file.shape}}});
  }
  return all;
}

}  // namespace

LlamaShape shape_of(const LlamaOptions& o) {
  return {o.layers,  o.width, o.heads, o.kv(),       o.hidden,
          o.context, o.vocab, o.tie,   o.rope_theta, o.norm_eps};
}

LlamaOptions options_of(const LlamaShape& s) {
  LlamaOptions o;
  o.layers = s.layers;
  o.width = s.width;
  o.heads = s.heads;
  o.kv_heads = s.kv_heads;
  o.hidden = s.hidden;
  o.context = s.context;
  o.vocab = s.vocab;
  o.tie = s.tie;
  o.rope_theta = s.rope_theta;
  o.norm_eps = s.norm_eps;
  return o;
}

ModelShape shape_of(const ModelOptions& options, const DataFiles& data) {
  if (data.image) return vit_shape(options, data);
  LlamaOptions llama = options.llama;
  llama.vocab = data.vocab;
  return shape_of(llama);
}

ModelShape shape_of(const Artifact& artifact) {
  if (artifact.vit) return *artifact.vit;
  return artifact.shape;
}

void set_shape(Artifact& artifact, const ModelShape& shape) {
  if (const auto* llama = std::get_if<LlamaShape>(&shape))
    artifact.shape = *llama;
  else
    artifact.vit = std::get<VitShape>(shape);
}

std::string describe(const ModelShape& shape) {
  if (const auto* m = std::get_if<LlamaShape>(&shape))
    return fmt::format("{} layers, width {}, {} heads, hidden {}, context {}", m->layers, m->width,
                       m->heads, m->hidden, m->context);
  const auto& m = std::get<VitShape>(shape);
  return fmt::format("vision transformer, {} layers, width {}, {} heads, hidden {}, {} patches",
                     m.layers, m.width, m.heads, m.hidden, m.patches());
}

std::unique_ptr<Model> make_model(const ModelShape& shape, const QatOptions& qat,
                                  const ComputeOptions& compute, uint64_t seed,
                                  const SparsityRun& sparsity) {
  if (const auto* llama = std::get_if<LlamaShape>(&shape))
    return std::make_unique<Llama>(options_of(*llama), qat, compute, seed, sparsity);
  return std::make_unique<Vit>(options_of(std::get<VitShape>(shape)), qat, compute, seed, sparsity);
}

std::unique_ptr<Model> make_model(const Recipe& recipe, const DataFiles& data,
                                  const ComputeOptions& compute) {
  return make_model(shape_of(recipe.model, data), recipe.qat, compute,
                    static_cast<uint64_t>(recipe.train.seed),
                    {recipe.sparsity, recipe.train.steps});
}

std::vector<ModelWeight> model_weights(const ModelShape& shape) {
  return std::visit([](const auto& s) { return weights_of(s); }, shape);
}

}  // namespace terse
