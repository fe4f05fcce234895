// estimator = "bitnet" against torchao's layer, forward and backward, on its own tensors
// (tests/peers/quantizers.py).
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "export/safetensors.h"
#include "qat/quantized_linear.h"

namespace terse {
namespace {

at::Tensor golden(const std::string& name) {
  static const SafetensorsFile file(TERSE_SOURCE_DIR "/tests/qat/golden/quantizers.safetensors");
  const TensorView view = file.require(name);
  const auto values = view.as<float>();
  at::Tensor out = at::empty(view.shape);
  std::copy(values.begin(), values.end(), out.data_ptr<float>());
  return out;
}

TEST(Bitnet, LayerEqualsTorchaos) {
  QatOptions options;
  options.target = "none";
  options.estimator = "bitnet";
  const at::Tensor weight = golden("bitnet.w").requires_grad_();
  QuantizedLinear layer("layer", weight, options, at::kFloat);
  layer.refresh();
  const at::Tensor x = golden("x").requires_grad_();
  const at::Tensor y = layer.forward(x);
  y.backward(golden("bitnet.dy"));
  // Sums of 256, 48 and 4 products in fp32, theirs of integers.
  EXPECT_TRUE(at::allclose(y, golden("bitnet.y"), 1e-5, 1e-5));
  EXPECT_TRUE(at::allclose(x.grad(), golden("bitnet.dx"), 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(weight.grad(), golden("bitnet.dw"), 1e-5, 1e-6));
}

TEST(Bitnet, CodesShareOneScale) {
  QatOptions options;
  options.target = "gguf:tq2_0";
  options.estimator = "bitnet";
  const at::Tensor weight = golden("bitnet.w").requires_grad_();
  QuantizedLinear layer("layer", weight, options, at::kFloat);
  layer.refresh();
  const Codes codes = layer.codes();
  codes.validate("layer");
  EXPECT_EQ(to_string(codes.format), "ternary b2 g-1 f16 h0 [-1,1] +0");
  EXPECT_EQ(codes.scales.size(), 1u);
  at::Tensor decoded = at::empty(weight.sizes());
  codes.decode(decoded.data_ptr<float>());
  EXPECT_TRUE(at::equal(decoded, layer.effective_weight()));
}

// A zero-initialised projection must learn, on every grid (estimators may mask, not block).
TEST(Targets, EveryOneTrainsAZeroWeightAndServesItsCodes) {
  for (const char* target :
       {"none", "gguf:q4_0", "gguf:q4_1", "gguf:q8_0", "gguf:q2_0", "gguf:tq2_0", "gguf:q1_0",
        "gguf:mxfp4", "gguf:nvfp4", "compressed-tensors:w4a16", "compressed-tensors:w8a8",
        "compressed-tensors:w4a4", "compressed-tensors:w4a4-hadamard", "compressed-tensors:nvfp4",
        "compressed-tensors:nvfp4a16", "compressed-tensors:mxfp4", "compressed-tensors:mxfp4a16",
        "onnx:int4", "onnx:int8"}) {
    QatOptions options;
    options.target = target;
    const at::Tensor weight = at::zeros({16, 256}).requires_grad_();
    QuantizedLinear layer("layer", weight, options, at::kFloat);
    layer.refresh();
    const at::Tensor dy = golden("bitnet.dy").narrow(1, 0, 16).contiguous();
    layer.forward(golden("x")).backward(dy);
    EXPECT_GT((weight.grad() != 0).to(at::kFloat).mean().item<float>(), 0.99f) << target;
    {
      const at::NoGradGuard no_grad;
      weight.copy_(golden("bitnet.w").narrow(0, 0, 16));
    }
    layer.refresh();
    const Codes codes = layer.codes();
    codes.validate(target);
    QuantizedLinear served("layer", weight, options, at::kFloat);
    served.use_codes(codes);
    EXPECT_TRUE(at::equal(served.effective_weight(), layer.effective_weight())) << target;
    EXPECT_TRUE(at::equal(served.forward(golden("x")), layer.forward(golden("x")))) << target;
  }
}

}  // namespace
}  // namespace terse
