// The model against plain PyTorch (golden/, tests/peers/torch_llama.py), and against itself.
#include "trainer/model/llama.h"

#include <cmath>
#include <set>

#include "tests/trainer/model/compare.h"
#include "tests/trainer/model/golden_model.h"

namespace terse::test {
namespace {

// 2 layers, width 32, 4 query heads on 2 key heads, hidden 48, vocabulary 96, 3 x 19 tokens.
LlamaOptions golden_options() {
  LlamaOptions o;
  o.layers = 2, o.width = 32, o.heads = 4, o.kv_heads = 2, o.hidden = 48, o.vocab = 96;
  o.context = 19;
  return o;
}

// AdamW (Loshchilov and Hutter 2019) as torch.optim.AdamW(lr 0.01, betas (0.9, 0.95), weight decay
// 0.1 on matrices except the embedding).
class PlainAdamW {
 public:
  void step(const std::vector<Parameter>& parameters) {
    const at::NoGradGuard no_gradients;
    ++step_;
    for (const Parameter& p : parameters) {
      const at::Tensor g = p.value.grad();
      auto [it, inserted] = state_.try_emplace(p.name, at::zeros_like(g), at::zeros_like(g));
      auto& [m, v] = it->second;
      m.mul_(0.9).add_(g, 0.1);
      v.mul_(0.95).addcmul_(g, g, 0.05);
      if (p.decay) p.value.mul_(1.0 - 0.01 * 0.1);
      const double first = 1.0 - std::pow(0.9, step_), second = 1.0 - std::pow(0.95, step_);
      p.value.addcdiv_(m, (v / second).sqrt_().add_(1e-8), -0.01 / first);
      p.value.mutable_grad() = at::Tensor();
    }
  }

 private:
  int step_ = 0;
  std::map<std::string, std::pair<at::Tensor, at::Tensor>> state_;
};

std::vector<float> ten_losses(Llama& model, const at::Tensor& tokens) {
  PlainAdamW optimizer;
  std::vector<float> losses;
  for (int i = 0; i < 10; ++i) {
    const at::Tensor loss = model.loss(tokens);
    losses.push_back(loss.item<float>());
    loss.backward();
    optimizer.step(model.parameters());
    model.refresh();
  }
  return losses;
}

// fp32 on both sides: sums in another order, in two layers. Absolute: a logit is up to 7.
TEST(LlamaGolden, LogitsInFloat) {
  const Golden golden("llama");
  const auto owner = golden_model<Llama>(golden, golden_options(), at::kFloat);
  Llama& model = *owner;
  const at::Tensor tokens = golden.tensor("tokens");
  expect_close({model.logits(tokens.narrow(1, 0, 19))}, {golden.tensor("logits")}, 1e-6, 1e-5);
}

TEST(LlamaGolden, GradientsInFloat) {
  const Golden golden("llama");
  const auto owner = golden_model<Llama>(golden, golden_options(), at::kFloat);
  Llama& model = *owner;
  model.loss(golden.tensor("tokens")).backward();
  for (const Parameter& p : model.parameters()) {
    SCOPED_TRACE(p.name);
    expect_close({p.value.grad()}, {golden.tensor("gradient." + p.name)}, 1e-6, 1e-6);
  }
}

TEST(LlamaGolden, TenTrainingLossesInFloat) {
  const Golden golden("llama");
  const auto owner = golden_model<Llama>(golden, golden_options(), at::kFloat);
  Llama& model = *owner;
  const std::vector<float> losses = ten_losses(model, golden.tensor("tokens"));
  const at::Tensor expected = golden.tensor("losses");
  for (int i = 0; i < 10; ++i)
    EXPECT_NEAR(losses[static_cast<size_t>(i)], expected[i].item<float>(), 1e-5) << i;
}

// bf16 rounds weights, activations and logits to 2^-9 relative; logits of up to 7 after some ten
// roundings in a row stay within 2 % of the largest.
TEST(LlamaGolden, Bfloat16StaysNear) {
  const Golden golden("llama");
  const auto owner = golden_model<Llama>(golden, golden_options(), at::kBFloat16);
  Llama& model = *owner;
  const at::Tensor tokens = golden.tensor("tokens"), expected = golden.tensor("losses");
  expect_close({model.logits(tokens.narrow(1, 0, 19))}, {golden.tensor("logits")}, 2e-2, 0.0);
  const std::vector<float> losses = ten_losses(model, tokens);
  for (int i = 0; i < 10; ++i)
    EXPECT_NEAR(losses[static_cast<size_t>(i)], expected[i].item<float>(),
                1e-2 * expected[i].item<float>())
        << i;
}

TEST(LlamaGolden, NllAgreesWithLogits) {
  const Golden golden("llama");
  const auto owner = golden_model<Llama>(golden, golden_options(), at::kFloat);
  Llama& model = *owner;
  const at::Tensor tokens = golden.tensor("tokens");
  const at::Tensor chosen = at::log_softmax(golden.tensor("logits").to(at::kDouble), -1)
                                .gather(2, tokens.narrow(1, 1, 19).unsqueeze(2))
                                .sum({1, 2});
  expect_close({model.scores(tokens).nll}, {-chosen}, 1e-6,
               0.0);  // 19 terms of about 2^-23 relative each
}

TEST(Llama, RecomputeGivesTheSameBits) {
  const at::Tensor tokens = at::randint(96, {3, 20}, at::kLong);
  for (at::ScalarType type : {at::kFloat, at::kBFloat16})
    for (bool tie : {false, true}) {
      LlamaOptions options = golden_options();
      options.tie = tie;
      ComputeOptions plain{type, at::kCPU, false}, again{type, at::kCPU, true};
      Llama a(options, QatOptions(), plain, 5), b(options, QatOptions(), again, 5);
      const Gradients x = gradients_of(a, tokens), y = gradients_of(b, tokens);
      expect_same_bits({x.loss}, {y.loss});
      expect_same_bits(x.all, y.all);
    }
}

TEST(Llama, TiedEmbeddingGetsBothGradients) {
  LlamaOptions options = golden_options();
  options.layers = 1;
  const ComputeOptions compute{at::kFloat, at::kCPU, false};
  options.tie = true;
  Llama tied(options, QatOptions(), compute, 5);
  options.tie = false;
  Llama untied(options, QatOptions(), compute, 5);
  {
    const at::NoGradGuard no_gradients;
    std::map<std::string, at::Tensor> values;
    for (Parameter& p : tied.parameters()) values[p.name] = p.value;
    for (Parameter& p : untied.parameters())
      p.value.copy_(p.name == "lm_head.weight" ? values.at("model.embed_tokens.weight")
                                               : values.at(p.name));
    untied.refresh();
  }
  at::manual_seed(2);
  const at::Tensor tokens = at::randint(96, {2, 20}, at::kLong);
  tied.loss(tokens).backward();
  untied.loss(tokens).backward();
  std::map<std::string, at::Tensor> g;
  for (Parameter& p : untied.parameters()) g[p.name] = p.value.grad();
  const at::Tensor both = g.at("model.embed_tokens.weight") + g.at("lm_head.weight");
  expect_close({tied.parameters()[0].value.grad()}, {both}, kFloatTolerance, 0.0);
}

TEST(Llama, CountsAndNamesItsParameters) {
  for (bool tie : {false, true}) {
    LlamaOptions options = golden_options();
    options.tie = tie;
    Llama model(options, QatOptions(), ComputeOptions(), 1);
    int64_t total = 0;
    std::set<std::string> names;
    for (const Parameter& p : model.parameters()) {
      total += p.value.numel();
      EXPECT_TRUE(names.insert(p.name).second) << p.name;
      EXPECT_TRUE(p.value.is_leaf() && p.value.requires_grad());
      EXPECT_EQ(p.decay, p.value.dim() == 2 && p.name != "model.embed_tokens.weight") << p.name;
    }
    EXPECT_EQ(total, options.parameters());
    EXPECT_EQ(model.linears().size(), tie ? 8u : 9u);
  }
}

TEST(Llama, InitialWeightsDependOnSeedAndNameAlone) {
  const auto weights = [](uint64_t seed, int threads) {
    const int before = at::get_num_threads();
    at::set_num_threads(threads);
    Llama model(golden_options(), QatOptions(), ComputeOptions(), seed);
    Tensors all;
    for (const Parameter& p : model.parameters()) all.push_back(p.value.detach());
    at::set_num_threads(before);
    return all;
  };
  const Tensors one = weights(1, 1), again = weights(1, 3), two = weights(2, 1);
  expect_same_bits(one, again);
  EXPECT_FALSE(at::equal(one[0], two[0]));
  // 96 x 32 deviates: the mean is within 4 and the deviation within 4 standard errors of what they
  // should be.
  EXPECT_NEAR(one[0].mean().item<double>(), 0.0, 4 * 0.02 / std::sqrt(3072.0));
  EXPECT_NEAR(one[0].std().item<double>(), 0.02, 4 * 0.02 / std::sqrt(2 * 3072.0));
}

// A gradient accumulated over two halves of a batch is that of the whole batch.
TEST(Llama, MicroBatchesAddUp) {
  const ComputeOptions compute{at::kFloat, at::kCPU, false};
  Llama whole(golden_options(), QatOptions(), compute, 4);
  Llama halves(golden_options(), QatOptions(), compute, 4);
  at::manual_seed(8);
  const at::Tensor tokens = at::randint(96, {4, 20}, at::kLong);
  whole.loss(tokens).backward();
  for (int64_t i : {0, 2}) (halves.loss(tokens.narrow(0, i, 2)) / 2.0).backward();
  Tensors a, b;
  for (const Parameter& p : whole.parameters()) a.push_back(p.value.grad());
  for (const Parameter& p : halves.parameters()) b.push_back(p.value.grad());
  expect_close(b, a, 2 * kFloatTolerance, 0.0);
}

}  // namespace
}  // namespace terse::test
