#include "trainer/model/vit.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "qat/representation.h"
#include "trainer/model/initialize.h"
#include "trainer/model/ops/attention.h"
#include "trainer/model/recompute.h"

namespace terse {
namespace {

struct Affine {
  at::Tensor weight, bias;
};

struct BiasedLinear {
  QuantizedLinear linear;
  at::Tensor bias;
};

struct Block {
  Affine norm1;
  BiasedLinear qkv, proj;
  Affine norm2;
  BiasedLinear fc1, fc2;
};

}  // namespace

struct Vit::Impl {
  Impl(const VitOptions& o, const QatOptions& q, const ComputeOptions& c, uint64_t s,
       const SparsityRun& mask)
      : options(o), qat(q), sparsity(mask), compute(c), seed(s) {}

  at::Tensor add(const std::string& name, at::Tensor value, bool decay);
  at::Tensor normal(const std::string& name, int64_t rows, int64_t columns, bool residual);
  Affine norm(const std::string& name);
  BiasedLinear linear(const std::string& name, int64_t rows, int64_t columns, bool residual);
  BiasedLinear biased(const std::string& name, const at::Tensor& first, const QatOptions& quantize,
                      const SparsityRun& mask);
  Block make_block(int64_t index);
  void build();

  at::Tensor layer_norm(const at::Tensor& x, const Affine& norm) const;
  // In the compute type; the bias is added in fp32.
  at::Tensor forward(BiasedLinear& layer, const at::Tensor& x) const;
  at::Tensor embed(const at::Tensor& images);
  Stream run_block(Block& block, const Stream& in);

  VitOptions options;
  QatOptions qat;
  SparsityRun sparsity;
  ComputeOptions compute;
  uint64_t seed;
  std::vector<Parameter> parameters;
  at::Tensor class_token, positions;
  std::optional<BiasedLinear> patches, head;
  std::vector<Block> blocks;
  Affine last_norm;
};

at::Tensor Vit::Impl::add(const std::string& name, at::Tensor value, bool decay) {
  parameters.push_back({name, value.to(compute.device).requires_grad_(), decay});
  return parameters.back().value;
}

at::Tensor Vit::Impl::normal(const std::string& name, int64_t rows, int64_t columns,
                             bool residual) {
  const double deviation =
      residual ? 0.02 / std::sqrt(2.0 * static_cast<double>(options.layers)) : 0.02;
  return normal_weights({rows, columns}, deviation, seed, name);
}

Affine Vit::Impl::norm(const std::string& name) {
  const at::Tensor weight = add(name + ".weight", at::ones({options.width}, at::kFloat), false);
  return {weight, add(name + ".bias", at::zeros({options.width}, at::kFloat), false)};
}

BiasedLinear Vit::Impl::biased(const std::string& name, const at::Tensor& first,
                               const QatOptions& quantize, const SparsityRun& mask) {
  const at::Tensor weight = add(name + ".weight", first, true);
  QuantizedLinear product(name, weight, quantize, compute.type, mask);
  for (const LearnedTensor& learned : product.learned())
    parameters.push_back({learned.name, learned.value, false});
  return {std::move(product), add(name + ".bias", at::zeros({first.size(0)}, at::kFloat), false)};
}

BiasedLinear Vit::Impl::linear(const std::string& name, int64_t rows, int64_t columns,
                               bool residual) {
  return biased(name, normal(name + ".weight", rows, columns, residual), qat, sparsity);
}

Block Vit::Impl::make_block(int64_t index) {
  const std::string prefix = fmt::format("blocks.{}.", index);
  const int64_t width = options.width, hidden = options.hidden;
  const Affine norm1 = norm(prefix + "norm1");
  BiasedLinear qkv = linear(prefix + "attn.qkv", 3 * width, width, false);
  BiasedLinear proj = linear(prefix + "attn.proj", width, width, true);
  const Affine norm2 = norm(prefix + "norm2");
  BiasedLinear fc1 = linear(prefix + "mlp.fc1", hidden, width, false);
  BiasedLinear fc2 = linear(prefix + "mlp.fc2", width, hidden, true);
  return {norm1, std::move(qkv), std::move(proj), norm2, std::move(fc1), std::move(fc2)};
}

void Vit::Impl::build() {
  const int64_t width = options.width;
  class_token = add("cls_token", at::zeros({width}, at::kFloat), false);
  positions = add("pos_embed", normal("pos_embed", options.patches() + 1, width, false), false);
  // A patch has few pixels: its embedding is neither quantized nor masked.
  const std::string embedding = "patch_embed.proj";
  patches.emplace(biased(embedding,
                         normal(embedding + ".weight", width, options.patch_size(), false),
                         QatOptions(), SparsityRun()));
  for (int64_t i = 0; i < options.layers; ++i) blocks.push_back(make_block(i));
  last_norm = norm("norm");
  head.emplace(linear("head", options.classes, width, false));
}

at::Tensor Vit::Impl::layer_norm(const at::Tensor& x, const Affine& norm) const {
  return at::layer_norm(x, {options.width}, norm.weight, norm.bias, options.norm_eps)
      .to(compute.type);
}

at::Tensor Vit::Impl::forward(BiasedLinear& layer, const at::Tensor& x) const {
  return (layer.linear.forward(x) + layer.bias).to(compute.type);
}

// The stream before the first block, fp32 [rows, patches + 1, width].
at::Tensor Vit::Impl::embed(const at::Tensor& images) {
  const VitOptions& o = options;
  const int64_t rows = images.size(0), high = o.image_height / o.patch,
                wide = o.image_width / o.patch;
  const at::Tensor pixels = images.narrow(1, 0, images.size(1) - 1)
                                .to(at::kFloat)
                                .mul(2.0 / static_cast<double>(o.top))
                                .sub(1.0)
                                .view({rows, o.channels, high, o.patch, wide, o.patch})
                                .permute({0, 2, 4, 1, 3, 5})
                                .reshape({-1, o.patch_size()});
  const at::Tensor patch = forward(*patches, pixels.to(compute.type)).view({rows, -1, o.width});
  return at::cat({class_token.expand({rows, 1, o.width}), patch.to(at::kFloat)}, 1) + positions;
}

Stream Vit::Impl::run_block(Block& block, const Stream& in) {
  const at::Tensor x = in.delta ? in.x + *in.delta : in.x;
  const int64_t rows = x.size(0), length = x.size(1), width = options.width;
  const at::Tensor qkv = forward(block.qkv, layer_norm(x, block.norm1).view({-1, width}));
  const auto heads = qkv.view({rows, length, 3, options.heads, options.head_size()})
                         .permute({2, 0, 3, 1, 4})
                         .unbind(0);
  const at::Tensor mixed = attention({heads[0], heads[1], heads[2]}, false);
  const at::Tensor sum = x + forward(block.proj, mixed.reshape({-1, width})).view_as(x);
  const at::Tensor hidden =
      at::gelu(forward(block.fc1, layer_norm(sum, block.norm2).view({-1, width})));
  return {sum, forward(block.fc2, hidden).view_as(x)};
}

Vit::Vit(const VitOptions& options, const QatOptions& qat, const ComputeOptions& compute,
         uint64_t seed, const SparsityRun& sparsity)
    : impl_(std::make_unique<Impl>(options, qat, compute, seed, sparsity)) {
  impl_->build();
  refresh();
}
Vit::~Vit() = default;

std::vector<Parameter> Vit::parameters() {
  return impl_->parameters;
}

std::vector<QuantizedLinear*> Vit::linears() {
  std::vector<QuantizedLinear*> all;
  for (Block& b : impl_->blocks)
    for (BiasedLinear* layer : {&b.qkv, &b.proj, &b.fc1, &b.fc2}) all.push_back(&layer->linear);
  all.push_back(&impl_->head->linear);
  return all;
}

at::Device Vit::device() const {
  return impl_->compute.device;
}

void Vit::refresh(int64_t taken) {
  Model::refresh(taken);
  impl_->patches->linear.refresh(taken);
}

Outputs Vit::run(const at::Tensor& images, bool hidden) {
  Impl& m = *impl_;
  TERSE_CHECK(
      images.dim() == 2 &&
          images.size(1) == m.options.channels * m.options.image_height * m.options.image_width + 1,
      "images must be int64 [rows, pixels + 1]");
  Outputs out;
  Stream stream{m.embed(images.to(device())), std::nullopt};
  for (Block& block : m.blocks) {
    const Segment segment = [&m, &block](const Stream& in) { return m.run_block(block, in); };
    stream = m.compute.recompute ? recompute(segment, stream) : segment(stream);
    if (hidden) out.hidden.push_back(stream.x + *stream.delta);
  }
  const at::Tensor last = (stream.x + *stream.delta).select(1, 0);
  out.logits = m.forward(*m.head, m.layer_norm(last, m.last_norm));
  return out;
}

at::Tensor Vit::targets(const at::Tensor& images) const {
  return images.to(device()).select(1, images.size(1) - 1);
}

}  // namespace terse
