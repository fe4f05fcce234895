#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "qat/learned_step.h"
#include "qat/representation.h"
#include "qat/tensors.h"

namespace terse {
namespace {

class Uniform final : public Representation {
 public:
  Uniform(std::string name, const Quantizer& quantizer, std::optional<LearnedStep> step)
      : name_(std::move(name)), quantizer_(quantizer), step_(std::move(step)) {}

  int64_t hadamard() const override { return quantizer_.grid.format.hadamard; }

  void encode(const at::Tensor& weight, const at::Tensor& decoded) override {
    reserve(weight.size(0), weight.size(1), weight.device());
    if (step_) take_step(weight);
    const at::Tensor codes = at::empty(weight.sizes(), weight.options().dtype(at::kChar));
    QuantizedTensor out{codes, scales_, mask_, decoded};
    tensor_scale_ = quantize_tensor(quantizer_, weight, out);
    codes_ = keep_codes(quantizer_.grid.format, codes);
    if (!at::isfinite(step_ ? weight : scales_).all().item<bool>())
      fail(ExitCode::non_finite,
           "the weight of layer '{}' holds NaN, infinity or a value too large for its scale type",
           name_);
  }

  void adopt(const Codes& given, const at::Tensor& decoded) override {
    given.validate(name_);
    const CodeFormat& format = quantizer_.grid.format;
    if (!(given.format == format))
      fail(ExitCode::invalid_file, "layer '{}' runs on codes '{}', the given ones are '{}'", name_,
           to_string(format), to_string(given.format));
    if (decoded.size(0) != given.rows || decoded.size(1) != given.columns)
      fail(ExitCode::invalid_file, "layer '{}' is {} x {}, the given codes are {} x {}", name_,
           decoded.size(0), decoded.size(1), given.rows, given.columns);
    reserve(given.rows, given.columns, at::kCPU);
    at::Tensor codes = at::empty({given.rows, given.columns}, at::kChar);
    std::copy(given.codes.begin(), given.codes.end(), codes.data_ptr<int8_t>());
    std::copy(given.scales.begin(), given.scales.end(), scales_.data_ptr<float>());
    mask_ = at::Tensor();
    codes = codes.to(decoded.device());
    scales_ = scales_.to(decoded.device());
    tensor_scale_ = given.tensor_scale;
    codes_ = keep_codes(format, codes);
    decode_tensor(format, codes, scales_, decoded, tensor_scale_);
  }

  at::Tensor decode() const override {
    const at::Tensor codes = unpack_codes(quantizer_.grid.format, codes_);
    at::Tensor out = at::empty(codes.sizes(), codes.options().dtype(at::kFloat));
    decode_tensor(quantizer_.grid.format, codes, scales_, out, tensor_scale_);
    return out;
  }

  std::optional<CodedMatrix> coded() const override {
    return CodedMatrix{quantizer_.grid.format, codes_, scales_, tensor_scale_};
  }

  Codes codes() const override {
    const at::Tensor codes = unpack_codes(quantizer_.grid.format, codes_).cpu();
    const at::Tensor scales = scales_.cpu();
    Codes result;
    result.format = quantizer_.grid.format;
    result.rows = codes.size(0);
    result.columns = codes.size(1);
    const int8_t* c = codes.const_data_ptr<int8_t>();
    const float* s = scales.const_data_ptr<float>();
    result.codes.assign(c, c + codes.numel());
    result.scales.assign(s, s + scales.numel());
    result.tensor_scale = tensor_scale_;
    return result;
  }

  std::vector<LearnedTensor> parameters() override {
    if (!step_) return {};
    return {{"log_step", step_->log()}};
  }

  RepresentationGradients backward(const at::Tensor& d_decoded) override {
    at::Tensor out = at::empty(d_decoded.sizes(), d_decoded.options().dtype(at::kFloat));
    rotate_tensor(d_decoded, mask_, hadamard(), out);
    if (!step_) return {out, {}};
    const at::Tensor codes = unpack_codes(quantizer_.grid.format, codes_);
    return {out, {step_->gradient(weight_, codes, mask_, d_decoded)}};
  }

 private:
  void take_step(const at::Tensor& weight) {
    weight_ = weight;
    step_->refresh(name_);
    scales_.copy_(step_->scales().view(scales_.sizes()));
  }

  void reserve(int64_t rows, int64_t columns, at::Device device) {
    const CodeFormat& format = quantizer_.grid.format;
    const at::TensorOptions on = at::TensorOptions().device(device);
    if (shape_ == std::array{rows, columns} && scales_.device() == device &&
        (mask_.defined() || !quantizer_.estimator.masks()))
      return;
    shape_ = {rows, columns};
    scales_ =
        at::empty({format.group < 0 ? 1 : rows, groups_of(format, columns)}, on.dtype(at::kFloat));
    if (quantizer_.estimator.masks())
      mask_ = at::empty({rows, mask_stride(columns)}, on.dtype(at::kByte));
  }

  std::string name_;
  Quantizer quantizer_;
  std::optional<LearnedStep> step_;
  at::Tensor weight_;  // of the latest encode() with learned steps; shares its memory
  std::array<int64_t, 2> shape_{};
  KeptCodes codes_;    // [out, in]
  at::Tensor scales_;  // fp32 [out, groups], or [1, 1]
  at::Tensor mask_;    // 1 bit an element; undefined = all ones
  float tensor_scale_ = 1.0f;
};

}  // namespace

std::unique_ptr<Representation> make_uniform(std::string name, const Quantizer& quantizer) {
  return std::make_unique<Uniform>(std::move(name), quantizer, std::nullopt);
}

std::unique_ptr<Representation> make_lsq(std::string name, const Quantizer& quantizer,
                                         const at::Tensor& weight) {
  return std::make_unique<Uniform>(std::move(name), quantizer,
                                   LearnedStep::of_weight(quantizer.grid.format, weight));
}

}  // namespace terse
