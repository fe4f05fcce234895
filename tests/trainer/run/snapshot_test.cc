// From a model to a checkpoint, an Artifact and back.
#include "trainer/snapshot.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "trainer/model/llama.h"
#include "trainer/packing.h"

namespace terse {
namespace {

LlamaOptions small_options() {
  LlamaOptions o;
  o.layers = 2;
  o.width = 64;
  o.heads = 4;
  o.kv_heads = 2;
  o.hidden = 96;
  o.context = 16;
  o.vocab = 50;
  return o;
}

QatOptions q4_0() {
  QatOptions qat;
  qat.target = "gguf:q4_0";
  qat.ignore = {"lm_head"};
  return qat;
}

at::Tensor tokens() {
  return at::arange(34, at::kLong).remainder(50).view({2, 17});
}

at::Tensor logits(Model& model) {
  const at::NoGradGuard no_gradients;
  return model.run(tokens()).logits;
}

TEST(Packing, PartsCoverEveryParameter) {
  Llama model(small_options(), {}, {}, 1);
  const auto packed = packed_weights(small_options());
  const auto parameters = model.parameters();
  ASSERT_EQ(packed.size(), parameters.size());
  std::vector<std::string> names;
  for (size_t i = 0; i < packed.size(); ++i) {
    EXPECT_EQ(packed[i].name, parameters[i].name);
    EXPECT_EQ(packed[i].shape, parameters[i].value.sizes().vec());
    for (const auto& part : parts_of(small_options(), packed[i].name, packed[i].shape[0]))
      names.push_back(part.part);
  }
  std::vector<std::string> expected;
  for (const auto& weight : llama_weight_names(shape_of(small_options())))
    expected.push_back(weight.name);
  EXPECT_EQ(names, expected);
}

// What the Artifact says computes the same logits, bit for bit, as the model that was trained.
TEST(Snapshot, ArtifactComputesTheSameLogits) {
  for (const QatOptions& qat : {QatOptions(), q4_0()}) {
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      ComputeOptions compute;
      compute.type = type;
      Llama model(small_options(), qat, compute, 5);
      auto state = std::make_shared<MemoryState>();
      save_model(model, *state);
      const Artifact artifact = artifact_of(state, shape_of(small_options()), qat, type);
      const auto again = model_of(artifact, compute);
      EXPECT_TRUE(at::equal(logits(*again), logits(model)));
    }
  }
}

TEST(Snapshot, LoadRestoresTheWeights) {
  Llama one(small_options(), q4_0(), {}, 1), two(small_options(), q4_0(), {}, 2);
  EXPECT_FALSE(at::equal(logits(one), logits(two)));
  MemoryState state;
  save_model(one, state);
  load_model(two, state);
  EXPECT_TRUE(at::equal(logits(one), logits(two)));
}

TEST(Snapshot, MissingWeightIsNamed) {
  LlamaOptions deeper = small_options();
  deeper.layers = 3;
  Llama model(small_options(), {}, {}, 1), larger(deeper, {}, {}, 1);
  MemoryState state;
  save_model(model, state);
  try {
    load_model(larger, state);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("model.layers.2"), std::string::npos);
  }
}

}  // namespace
}  // namespace terse
