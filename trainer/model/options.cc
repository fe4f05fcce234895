#include "trainer/model/options.h"

#include <fmt/format.h>

namespace terse {
namespace {

void check_llama(const LlamaOptions& o, Keys& keys) {
  if (o.width % o.heads == 0 && o.head_size() % 2 != 0)
    keys.problem("width", fmt::format("width / heads = {} must be even: rotary embedding turns "
                                      "coordinates in pairs",
                                      o.head_size()));
  if (o.heads % o.kv() != 0)
    keys.problem("kv_heads", fmt::format("{} does not divide heads = {}", o.kv_heads, o.heads));
}

}  // namespace

void ModelOptions::bind(Keys& keys) {
  LlamaOptions& o = llama;
  keys.choice("kind", kind, {"llama", "vit"},
              "a Llama decoder on text, a vision transformer on images");
  keys.integer("layers", o.layers, 1, 1024, "layers");
  keys.integer("width", o.width, 2, 1 << 16, "size of the residual stream");
  keys.integer("heads", o.heads, 1, 1024, "query heads; width is a multiple of it");
  keys.integer("kv_heads", o.kv_heads, 0, 1024,
               "llama: key and value heads; 0 = heads; divides heads");
  keys.integer("hidden", o.hidden, 1, 1 << 20, "inner size of the feed-forward block");
  keys.integer("context", o.context, 1, 1 << 20, "llama: positions of a sequence");
  keys.integer("vocab", o.vocab, 0, 1 << 24, "llama: vocabulary; 0 = the tokenizer's");
  keys.flag("tie", o.tie, "llama: output weights are the embedding");
  keys.number("rope_theta", o.rope_theta, 1.0, 1e9,
              "llama: base of the rotary embedding's wavelengths");
  keys.number("norm_eps", o.norm_eps, 1e-12, 1.0, "added to the variance in norms");
  keys.integer("patch", patch, 1, 1024, "vit: pixels of a patch's side");
}

void ModelOptions::check(Keys& keys) const {
  if (llama.width % llama.heads != 0)
    keys.problem("width",
                 fmt::format("{} is not a multiple of heads = {}", llama.width, llama.heads));
  const auto unread = [&](const char* key, bool given) {
    if (given) keys.problem(key, fmt::format("kind = \"{}\" does not read it; leave it out", kind));
  };
  const ModelOptions standard;
  if (!images()) {
    unread("patch", patch != standard.patch);
    return check_llama(llama, keys);
  }
  unread("kv_heads", llama.kv_heads != standard.llama.kv_heads);
  unread("context", llama.context != standard.llama.context);
  unread("vocab", llama.vocab != standard.llama.vocab);
  unread("tie", llama.tie != standard.llama.tie);
  unread("rope_theta", llama.rope_theta != standard.llama.rope_theta);
}

int64_t LlamaOptions::body_parameters() const {
  const int64_t attention = width * (heads + 2 * kv()) * head_size() + width * width;
  return layers * (attention + 3 * width * hidden + 2 * width) + width;
}

int64_t LlamaOptions::parameters() const {
  return body_parameters() + vocab * width * (tie ? 1 : 2);
}

int64_t VitOptions::parameters() const {
  const int64_t attention = 4 * width * width + 4 * width;
  const int64_t feed_forward = 2 * width * hidden + hidden + width;
  const int64_t embedding = width * (patch_size() + 1) + width + width * (patches() + 1);
  return embedding + layers * (attention + feed_forward + 4 * width) + 2 * width +
         classes * (width + 1);
}

}  // namespace terse
