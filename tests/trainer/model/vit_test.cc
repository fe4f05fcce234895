// The vision transformer against timm (golden/vit.safetensors, tests/peers/timm_vit.py), and
// itself.
#include "trainer/model/vit.h"

#include "export/shapes.h"
#include "tests/trainer/model/compare.h"
#include "tests/trainer/model/golden_model.h"

namespace terse::test {
namespace {

VitOptions golden_options() {
  return {.layers = 2,
          .width = 32,
          .heads = 4,
          .hidden = 48,
          .patch = 2,
          .channels = 2,
          .image_height = 4,
          .image_width = 8,
          .classes = 7,
          .top = 16};
}

at::Tensor logits(Model& model, const at::Tensor& images) {
  const at::NoGradGuard no_gradients;
  return model.run(images).logits.to(at::kFloat);
}

// fp32 on both sides: sums in another order. Logits are up to 5.
TEST(VitGolden, LogitsAndLossInFloat) {
  const Golden golden("vit");
  const auto model = golden_model<Vit>(golden, golden_options(), at::kFloat);
  const at::Tensor images = golden.tensor("images");
  expect_close({logits(*model, images)}, {golden.tensor("logits")}, 1e-6, 1e-5);
  expect_close({model->loss(images)}, {golden.tensor("loss")}, 1e-6, 0.0);
}

TEST(VitGolden, GradientsInFloat) {
  const Golden golden("vit");
  const auto model = golden_model<Vit>(golden, golden_options(), at::kFloat);
  model->loss(golden.tensor("images")).backward();
  for (const Parameter& p : model->parameters()) {
    SCOPED_TRACE(p.name);
    expect_close({p.value.grad()}, {golden.tensor("gradient." + p.name)}, 2e-6, 2e-6);
  }
}

// bf16 rounds weights and activations to 2^-9 relative, some ten times in a row.
TEST(VitGolden, Bfloat16StaysNear) {
  const Golden golden("vit");
  const auto model = golden_model<Vit>(golden, golden_options(), at::kBFloat16);
  expect_close({logits(*model, golden.tensor("images"))}, {golden.tensor("logits")}, 3e-2, 0.0);
}

TEST(VitGolden, ScoresAreThoseOfItsLogits) {
  const Golden golden("vit");
  const auto model = golden_model<Vit>(golden, golden_options(), at::kFloat);
  const at::Tensor images = golden.tensor("images"), labels = images.select(1, 64);
  const Scores scores = model->scores(images);
  const at::Tensor log_p = at::log_softmax(golden.tensor("logits").to(at::kDouble), 1);
  expect_close({scores.nll}, {-log_p.gather(1, labels.unsqueeze(1)).squeeze(1)}, 1e-5, 1e-5);
  EXPECT_TRUE(at::equal(scores.right, log_p.argmax(1).eq(labels).to(at::kLong)));
}

TEST(Vit, CountsAndNamesItsParametersAsFilesDo) {
  Vit model(golden_options(), QatOptions(), ComputeOptions(), 1);
  const VitOptions o = golden_options();
  const auto files = vit_weight_names({.layers = o.layers,
                                       .width = o.width,
                                       .heads = o.heads,
                                       .hidden = o.hidden,
                                       .patch = o.patch,
                                       .channels = o.channels,
                                       .image_height = o.image_height,
                                       .image_width = o.image_width,
                                       .classes = o.classes,
                                       .top = o.top});
  const auto parameters = model.parameters();
  ASSERT_EQ(parameters.size(), files.size());
  int64_t total = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    EXPECT_EQ(parameters[i].name, files[i].name);
    int64_t numel = 1;
    for (const int64_t d : files[i].shape) numel *= d;
    EXPECT_EQ(parameters[i].value.numel(), numel) << files[i].name;
    total += numel;
  }
  EXPECT_EQ(total, o.parameters());
  EXPECT_EQ(model.linears().size(), 9u);
}

TEST(Vit, RecomputeGivesTheSameBits) {
  const at::Tensor images = Golden("vit").tensor("images");
  for (at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    Vit a(golden_options(), QatOptions(), {type, at::kCPU, false}, 5);
    Vit b(golden_options(), QatOptions(), {type, at::kCPU, true}, 5);
    const Gradients x = gradients_of(a, images), y = gradients_of(b, images);
    expect_same_bits({x.loss}, {y.loss});
    expect_same_bits(x.all, y.all);
  }
}

TEST(Vit, QuantizesAndMasksItsBlocks) {
  QatOptions qat;
  qat.target = "none";
  qat.weight_bits = 4;
  qat.act_bits = 4;
  qat.hadamard = 16;
  qat.ignore = {"head"};
  SparsityRun sparsity;
  sparsity.options.pattern = "2:4";
  sparsity.options.targets = {"*.mlp.*"};
  Vit model(golden_options(), qat, ComputeOptions(), 5, sparsity);
  EXPECT_TRUE(model.masked());
  int quantized = 0, masked = 0;
  for (const QuantizedLinear* linear : model.linears()) {
    quantized += linear->quantized();
    masked += linear->masked();
  }
  EXPECT_EQ(quantized, 8);
  EXPECT_EQ(masked, 4);
  for (const at::Tensor& g : gradients_of(model, Golden("vit").tensor("images")).all)
    EXPECT_TRUE(g.isfinite().all().item<bool>());
}

}  // namespace
}  // namespace terse::test
