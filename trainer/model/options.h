// The recipe's [model] table, and the options of each model. Free of torch.
#pragma once
#include <cstdint>
#include <string>

#include "base/keys.h"

namespace terse {

// A Llama decoder (trainer/model/llama.h).
struct LlamaOptions {
  int64_t layers = 6;
  int64_t width = 256;
  int64_t heads = 4;
  int64_t kv_heads = 0;  // 0 = heads
  int64_t hidden = 768;
  int64_t context = 256;
  int64_t vocab = 0;  // 0 = the tokenizer's
  bool tie = false;   // output weights = embedding
  double rope_theta = 10000.0;
  double norm_eps = 1e-5;
  int64_t head_size() const { return width / heads; }
  int64_t kv() const { return kv_heads == 0 ? heads : kv_heads; }
  int64_t parameters() const;       // exact count
  int64_t body_parameters() const;  // besides embedding and output matrix, as QuEST counts
  bool operator==(const LlamaOptions&) const = default;
};

// A vision transformer (trainer/model/vit.h). The data say what an image is.
struct VitOptions {
  int64_t layers = 6;
  int64_t width = 256;
  int64_t heads = 4;
  int64_t hidden = 768;
  int64_t patch = 2;
  int64_t channels = 1;
  int64_t image_height = 8;
  int64_t image_width = 8;
  int64_t classes = 10;
  int64_t top = 16;  // the largest pixel
  double norm_eps = 1e-5;
  int64_t head_size() const { return width / heads; }
  int64_t patches() const { return (image_height / patch) * (image_width / patch); }
  int64_t patch_size() const { return channels * patch * patch; }
  int64_t parameters() const;
  bool operator==(const VitOptions&) const = default;
};

// Keys that several kinds read stand in `llama`; a key that the kind does not read is an error.
struct ModelOptions {
  std::string kind = "llama";  // llama | vit
  LlamaOptions llama;
  int64_t patch = 2;  // vit: pixels of a patch's side

  bool images() const { return kind == "vit"; }
  // What one example of the data counts for in [train]'s tokens: its tokens; of images 1.
  int64_t targets() const { return images() ? 1 : llama.context; }
  void bind(Keys& keys);
  void check(Keys& keys) const;
};

}  // namespace terse
