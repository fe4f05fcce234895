#include "trainer/model/llama.h"

namespace terse {

void LlamaOptions::bind(Keys& keys) {
  keys.integer("layers", layers, 1, 1024, "decoder layers");
  keys.integer("width", width, 2, 1 << 16, "size of the residual stream");
  keys.integer("heads", heads, 1, 1024, "query heads; width is a multiple of it");
  keys.integer("kv_heads", kv_heads, 0, 1024, "key and value heads; 0 = heads; divides heads");
  keys.integer("hidden", hidden, 1, 1 << 20, "inner size of the SwiGLU block");
  keys.integer("context", context, 1, 1 << 20, "positions of a sequence");
  keys.integer("vocab", vocab, 0, 1 << 24, "vocabulary; 0 = the tokenizer's");
  keys.flag("tie", tie, "output weights are the embedding");
  keys.number("rope_theta", rope_theta, 1.0, 1e9, "base of the rotary embedding's wavelengths");
  keys.number("norm_eps", norm_eps, 1e-12, 1.0, "added to the mean square in RMSNorm");
}

void LlamaOptions::check(Keys& keys) const {
  if (width % heads != 0)
    keys.problem("width", fmt::format("{} is not a multiple of heads = {}", width, heads));
  else if (head_size() % 2 != 0)
    keys.problem("width", fmt::format("width / heads = {} must be even: rotary embedding turns "
                                      "coordinates in pairs",
                                      head_size()));
  if (heads % kv() != 0)
    keys.problem("kv_heads", fmt::format("{} does not divide heads = {}", kv_heads, heads));
}

int64_t LlamaOptions::parameters() const {
  const int64_t attention = width * (heads + 2 * kv()) * head_size() + width * width;
  const int64_t layer = attention + 3 * width * hidden + 2 * width;
  return layers * layer + width + vocab * width * (tie ? 1 : 2);
}

}  // namespace terse
