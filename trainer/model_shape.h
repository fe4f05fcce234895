// The one place that knows every kind of model: from a recipe and its data to a shape, from a shape
// to a network, and from a network's parameters to the tensors of files.
#pragma once
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "export/artifact.h"
#include "trainer/data_files.h"
#include "trainer/model/model.h"
#include "trainer/recipe/recipe.h"

namespace terse {

using ModelShape = std::variant<LlamaShape, VitShape>;

// What the data leave open, the recipe says. Error(usage) where the two do not fit.
ModelShape shape_of(const ModelOptions& options, const DataFiles& data);
ModelShape shape_of(const Artifact& artifact);
void set_shape(Artifact& artifact, const ModelShape& shape);
LlamaShape shape_of(const LlamaOptions& options);
LlamaOptions options_of(const LlamaShape& shape);

// "6 layers, width 256, 4 heads, hidden 768, context 256"
std::string describe(const ModelShape& shape);

// A network with new weights, drawn from `seed`.
std::unique_ptr<Model> make_model(const ModelShape& shape, const QatOptions& qat,
                                  const ComputeOptions& compute, uint64_t seed,
                                  const SparsityRun& sparsity = {});
// What the recipe trains on these data.
std::unique_ptr<Model> make_model(const Recipe& recipe, const DataFiles& data,
                                  const ComputeOptions& compute);

// Rows [begin, end) of a parameter are the file's tensor `name` of this shape.
struct FileTensor {
  std::string name;
  int64_t begin = 0;
  int64_t end = 0;
  std::vector<int64_t> shape;
};

// A parameter as the model holds it, and what files make of it, in row order.
struct ModelWeight {
  std::string name;
  std::vector<int64_t> shape;
  bool product = false;  // the forward takes it in the compute type
  std::string layer;     // whose weight it is, of Model::linears(); empty: of none of them
  std::vector<FileTensor> files;
};

// In forward order; known without building the model.
std::vector<ModelWeight> model_weights(const ModelShape& shape);

}  // namespace terse
