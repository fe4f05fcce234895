#include "trainer/lab/mask/lab_mask.h"

#include <map>

#include "base/error.h"
#include "export/artifact.h"
#include "export/safetensors.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

struct MaskedTensor {
  std::vector<int64_t> shape;
  MaskState state;
  std::vector<uint8_t> mask;
  std::vector<float> weight;
};

std::vector<float> values_of(const std::string& name, const TensorView& view) {
  if (view.dtype != DType::f32 && view.dtype != DType::bf16 && view.dtype != DType::f16)
    fail(ExitCode::invalid_file, "tensor '{}' is {}; lab mask takes F32, BF16 and F16", name,
         dtype_name(view.dtype));
  std::vector<float> values(static_cast<size_t>(view.numel()));
  widen_to_float(view.dtype, view.data, values.data());
  return values;
}

MaskedTensor masked(const LabMaskOptions& options, const std::string& name,
                    const TensorView& view) {
  const int64_t columns = view.shape.empty() ? 1 : view.shape.back();
  const int64_t rows = columns == 0 ? 0 : view.numel() / columns;
  MaskedTensor result{view.shape, {}, {}, values_of(name, view)};
  result.mask.assign(result.weight.size(), 1);
  const auto plan = plan_mask(options.run, name, columns);
  if (plan) result.state = plan->schedule.at(options.step);
  if (!plan || !result.state.masked) return result;
  std::vector<uint8_t> bits(static_cast<size_t>(rows * mask_stride(columns)));
  float* w = result.weight.data();
  if (!select_mask(result.state.pattern, w, rows, columns, bits.data()))
    fail(ExitCode::non_finite, "tensor '{}' holds NaN or infinity", name);
  blend_rows({.f32 = w}, bits.data(), static_cast<float>(result.state.beta), rows, columns,
             {.f32 = w});
  for (int64_t i = 0; i < rows * columns; ++i)
    result.mask[static_cast<size_t>(i)] =
        bits[static_cast<size_t>(i / columns * mask_stride(columns) + i % columns / 8)] >>
            (i % columns % 8) &
        1;
  return result;
}

}  // namespace

void lab_mask(const LabMaskOptions& options) {
  const SafetensorsFile file(options.in);
  std::map<std::string, MaskedTensor> results;
  Metadata metadata = {{"schedule", options.run.options.schedule},
                       {"step", options.step == kServed ? "served" : std::to_string(options.step)}};
  for (const std::string& name : file.names()) {
    const MaskedTensor& m = results[name] = masked(options, name, file.require(name));
    metadata["pattern"] = to_string(m.state.pattern);
    metadata["beta"] = fmt::format("{}", m.state.beta);
    metadata["stage"] = stage_name(m.state.stage);
  }
  std::map<std::string, TensorView> tensors;
  for (const auto& [name, m] : results) {
    const auto n = static_cast<int64_t>(m.mask.size());
    tensors[name + ".mask"] = {DType::u8, m.shape, bytes_of(m.mask.data(), n)};
    tensors[name + ".weight"] = {DType::f32, m.shape, bytes_of(m.weight.data(), n)};
  }
  write_safetensors(FileSystem::real(), options.out, tensors, metadata);
}

}  // namespace terse
