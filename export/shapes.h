// What a model of each kind consists of: sizes, and the names and shapes of its tensors in files.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace terse {

struct WeightName {
  std::string name;
  std::vector<int64_t> shape;
};

struct LlamaShape {
  int64_t layers = 0;
  int64_t width = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;  // never 0
  int64_t hidden = 0;
  int64_t context = 0;
  int64_t vocab = 0;
  bool tie = false;  // the output uses the embedding: there is no lm_head weight
  double rope_theta = 10000.0;
  double norm_eps = 1e-5;
  int64_t head_size() const { return width / heads; }
  bool operator==(const LlamaShape&) const = default;
};

// Hugging Face's names, in forward order.
std::vector<WeightName> llama_weight_names(const LlamaShape& shape);

// timm's VisionTransformer(class_token=True, global_pool="token", qkv_bias=True).
struct VitShape {
  int64_t layers = 0;
  int64_t width = 0;
  int64_t heads = 0;
  int64_t hidden = 0;
  int64_t patch = 0;  // pixels of a patch's side; divides height and width
  int64_t channels = 0;
  int64_t image_height = 0;
  int64_t image_width = 0;
  int64_t classes = 0;
  int64_t top = 0;  // pixels p of 0 .. top are fed as 2 p / top - 1
  double norm_eps = 1e-5;
  int64_t patches() const { return (image_height / patch) * (image_width / patch); }
  bool operator==(const VitShape&) const = default;
};

// timm's names, in forward order; queries, keys and values are one matrix.
std::vector<WeightName> vit_weight_names(const VitShape& shape);

// Error(invalid_file) for sizes that no model has.
void check_shape(const LlamaShape& shape);
void check_shape(const VitShape& shape);

}  // namespace terse
