#include "trainer/model/llama.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "base/error.h"
#include "qat/representation.h"
#include "trainer/model/initialize.h"
#include "trainer/model/ops/add_norm.h"
#include "trainer/model/ops/embedding.h"
#include "trainer/model/ops/rotary_attention.h"
#include "trainer/model/ops/swiglu.h"
#include "trainer/model/recompute.h"

namespace terse {
namespace {

struct Layer {
  at::Tensor attention_norm, mlp_norm;
  QuantizedLinear qkv, output, gate_up, down;
};

at::Tensor leaf(at::Tensor value, at::Device device) {
  return value.to(device).requires_grad_();
}

}  // namespace

struct Llama::Impl {
  Impl(const LlamaOptions& o, const QatOptions& qat, const ComputeOptions& c, uint64_t seed,
       const SparsityRun& sparsity);

  at::Tensor weight(const std::string& name, int64_t rows, int64_t columns, bool residual);
  at::Tensor norm(const std::string& name);
  QuantizedLinear linear(const std::string& name, int64_t rows, int64_t columns, bool residual);
  Layer make_layer(int64_t index);

  Stream run_layer(Layer& layer, const Stream& in, int64_t batch);
  // Hidden states after the last norm, [batch length, width] in the compute type. `layers_out` may
  // be null; else it gets the stream after each layer.
  at::Tensor hidden(const at::Tensor& tokens, std::vector<at::Tensor>* layers_out);
  void check_tokens(const at::Tensor& tokens, int64_t more) const;

  LlamaOptions options;
  QatOptions qat;
  SparsityRun sparsity;
  ComputeOptions compute;
  uint64_t seed;
  std::vector<Parameter> parameters;
  at::Tensor embedding_weight, final_norm;
  std::vector<Layer> layers;
  std::optional<QuantizedLinear> head;
  RotaryTable rotary;
};

Llama::Impl::Impl(const LlamaOptions& o, const QatOptions& q, const ComputeOptions& c, uint64_t s,
                  const SparsityRun& mask)
    : options(o), qat(q), sparsity(mask), compute(c), seed(s) {
  TERSE_CHECK(
      o.vocab > 0 && o.width % o.heads == 0 && o.heads % o.kv() == 0 && o.head_size() % 2 == 0,
      "options were not checked");
  embedding_weight = weight("model.embed_tokens.weight", o.vocab, o.width, false);
  parameters.back().decay = false;
  for (int64_t i = 0; i < o.layers; ++i) layers.push_back(make_layer(i));
  final_norm = norm("model.norm.weight");
  if (o.tie) {
    head.emplace("lm_head", embedding_weight, QatOptions(), compute.type);
  } else {
    head.emplace(linear("lm_head", o.vocab, o.width, false));
  }
  rotary = rotary_table(o.context, o.head_size(), o.rope_theta, compute.device);
}

at::Tensor Llama::Impl::weight(const std::string& name, int64_t rows, int64_t columns,
                               bool residual) {
  const double deviation =
      residual ? 0.02 / std::sqrt(2.0 * static_cast<double>(options.layers)) : 0.02;
  parameters.push_back(
      {name, leaf(normal_weights({rows, columns}, deviation, seed, name), compute.device), true});
  return parameters.back().value;
}

at::Tensor Llama::Impl::norm(const std::string& name) {
  parameters.push_back({name, leaf(at::ones({options.width}, at::kFloat), compute.device), false});
  return parameters.back().value;
}

QuantizedLinear Llama::Impl::linear(const std::string& name, int64_t rows, int64_t columns,
                                    bool residual) {
  QuantizedLinear made(name, weight(name + ".weight", rows, columns, residual), qat, compute.type,
                       sparsity);
  for (const LearnedTensor& learned : made.learned())
    parameters.push_back({learned.name, learned.value, false});
  return made;
}

Layer Llama::Impl::make_layer(int64_t index) {
  const LlamaOptions& o = options;
  const std::string prefix = fmt::format("model.layers.{}.", index);
  const at::Tensor attention_norm = norm(prefix + "input_layernorm.weight");
  QuantizedLinear qkv =
      linear(prefix + "self_attn.qkv_proj", (o.heads + 2 * o.kv()) * o.head_size(), o.width, false);
  QuantizedLinear output = linear(prefix + "self_attn.o_proj", o.width, o.width, true);
  const at::Tensor mlp_norm = norm(prefix + "post_attention_layernorm.weight");
  QuantizedLinear gate_up = linear(prefix + "mlp.gate_up_proj", 2 * o.hidden, o.width, false);
  QuantizedLinear down = linear(prefix + "mlp.down_proj", o.width, o.hidden, true);
  return {attention_norm,    mlp_norm,           std::move(qkv),
          std::move(output), std::move(gate_up), std::move(down)};
}

Stream Llama::Impl::run_layer(Layer& layer, const Stream& in, int64_t batch) {
  const AddNorm first =
      add_norm(in.x, in.delta, layer.attention_norm, options.norm_eps, compute.type);
  const at::Tensor qkv = layer.qkv.forward(first.y);
  const at::Tensor heads = rotary_attention(qkv.view({batch, -1, qkv.size(1)}), rotary,
                                            options.heads, options.kv(), true);
  const at::Tensor mixed = layer.output.forward(heads.flatten(0, 1));
  const AddNorm second = add_norm(first.sum, mixed, layer.mlp_norm, options.norm_eps, compute.type);
  return {second.sum, layer.down.forward(swiglu(layer.gate_up.forward(second.y)))};
}

at::Tensor Llama::Impl::hidden(const at::Tensor& tokens, std::vector<at::Tensor>* layers_out) {
  const int64_t batch = tokens.size(0);
  const bool round = compute.type == at::kBFloat16;  // as a matrix is served
  Stream stream{embedding(embedding_weight, tokens.flatten(), round), std::nullopt};
  for (Layer& layer : layers) {
    const Segment segment = [this, &layer, batch](const Stream& in) {
      return run_layer(layer, in, batch);
    };
    stream = compute.recompute ? recompute(segment, stream) : segment(stream);
    if (layers_out != nullptr)
      layers_out->push_back((stream.x + *stream.delta).view({batch, -1, options.width}));
  }
  return add_norm(stream.x, stream.delta, final_norm, options.norm_eps, compute.type).y;
}

// `more`: what a row holds beyond the positions that are run.
void Llama::Impl::check_tokens(const at::Tensor& tokens, int64_t more) const {
  TERSE_CHECK(tokens.dim() == 2 && tokens.scalar_type() == at::kLong,
              "tokens must be int64 [batch, length]");
  const int64_t length = tokens.size(1) - more;
  TERSE_CHECK(length >= 1 && length <= options.context, "{} positions, the context has {}", length,
              options.context);
}

Llama::Llama(const LlamaOptions& options, const QatOptions& qat, const ComputeOptions& compute,
             uint64_t seed, const SparsityRun& sparsity)
    : impl_(std::make_unique<Impl>(options, qat, compute, seed, sparsity)) {
  refresh();
}
Llama::~Llama() = default;

const LlamaOptions& Llama::options() const {
  return impl_->options;
}
std::vector<Parameter> Llama::parameters() {
  return impl_->parameters;
}

std::vector<QuantizedLinear*> Llama::linears() {
  std::vector<QuantizedLinear*> all;
  for (Layer& l : impl_->layers)
    for (QuantizedLinear* linear : {&l.qkv, &l.output, &l.gate_up, &l.down}) all.push_back(linear);
  if (!impl_->options.tie) all.push_back(&*impl_->head);
  return all;
}

at::Device Llama::device() const {
  return impl_->compute.device;
}

void Llama::refresh(int64_t taken) {
  Model::refresh(taken);
  if (impl_->options.tie) impl_->head->refresh(taken);
}

Outputs Llama::run(const at::Tensor& tokens, bool hidden) {
  impl_->check_tokens(tokens, 1);
  Outputs out;
  const at::Tensor inputs = tokens.to(device()).narrow(1, 0, tokens.size(1) - 1);
  const at::Tensor last = impl_->hidden(inputs, hidden ? &out.hidden : nullptr);
  out.logits = impl_->head->forward(last);
  return out;
}

at::Tensor Llama::targets(const at::Tensor& tokens) const {
  return tokens.to(device()).narrow(1, 1, tokens.size(1) - 1).flatten();
}

at::Tensor Llama::logits(const at::Tensor& tokens) {
  impl_->check_tokens(tokens, 0);
  const at::NoGradGuard no_gradients;
  const at::Tensor out = impl_->head->forward(impl_->hidden(tokens.to(device()), nullptr));
  return out.to(at::kFloat).view({tokens.size(0), tokens.size(1), impl_->options.vocab});
}

}  // namespace terse
