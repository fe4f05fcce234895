#include "export/compressed_tensors.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/half.h"
#include "export/ct_config.h"
#include "export/ct_pack.h"
#include "export/ct_scheme.h"
#include "export/folder.h"
#include "export/hf_folder.h"
#include "export/latest_codes.h"

namespace terse {
namespace {

// One tensor of a weight, made from its Codes.
using MakeBytes = std::function<std::vector<std::byte>(const Codes&)>;

std::vector<std::byte> bytes_like(const void* data, size_t size) {
  const auto* first = static_cast<const std::byte*>(data);
  return {first, first + size};
}

// The value in its type, at `to`; returns the end.
std::byte* put_scale(DType type, float scale, std::byte* to) {
  if (type == DType::u8 || type == DType::f8_e4m3) {
    *to = type == DType::u8 ? ct_e8m0(scale) : ct_e4m3(scale);
  } else if (type == DType::f32) {
    std::memcpy(to, &scale, sizeof scale);
  } else {
    const uint16_t half = type == DType::bf16 ? bf16_from_float(scale) : fp16_from_float(scale);
    std::memcpy(to, &half, sizeof half);
  }
  return to + dtype_size(type);
}

DType dtype_of(const std::string& name) {
  DType dtype = DType::f32;
  TERSE_CHECK(dtype_parse(name, dtype), "{}", name);
  return dtype;
}

std::vector<std::byte> scale_bytes(const Codes& codes, const CtScheme& s, const std::string& name) {
  const DType type = dtype_of(s.scale);
  // Readers of a scale a row do not all know one of the whole tensor.
  const bool repeat = codes.format.group < 0;
  const auto count = repeat ? static_cast<size_t>(codes.rows) : codes.scales.size();
  std::vector<std::byte> out(count * static_cast<size_t>(dtype_size(type)));
  std::byte* to = out.data();
  const float factor = 1.0f / static_cast<float>(s.multiply);
  for (size_t i = 0; i < count; ++i) {
    const float stored = codes.scales[repeat ? 0 : i] * factor;
    // Half of a fp16 scale below its normal numbers may lose a digit.
    if (factor != 1.0f && type == DType::f16 && !representable(stored, ScaleType::f16))
      fail(ExitCode::usage, "{}: half the scale {} is no fp16 number; train on a grid of integers",
           name, codes.scales[repeat ? 0 : i]);
    to = put_scale(type, stored, to);
  }
  return out;
}

std::vector<std::byte> code_bytes(const Codes& codes, const CtScheme& s) {
  std::vector<std::byte> out;
  if (s.fp4()) {
    ct_pack_fp4(codes.codes.data(), codes.rows, codes.columns, out);
    return out;
  }
  if (s.format == "int-quantized") {
    return bytes_like(codes.codes.data(), codes.codes.size());
  }
  if (s.multiply == 1 && s.add == 0) {
    ct_pack_rows(codes.codes.data(), codes.rows, codes.columns, s.bits, out);
    return out;
  }
  std::vector<int8_t> stored(codes.codes.size());
  std::transform(codes.codes.begin(), codes.codes.end(), stored.begin(),
                 [&](int8_t code) { return static_cast<int8_t>(code * s.multiply + s.add); });
  ct_pack_rows(stored.data(), codes.rows, codes.columns, s.bits, out);
  return out;
}

class Items {
 public:
  void add(const ArtifactWeight& weight) {
    if (weight.compressed())
      add_codes(weight);
    else
      items_.push_back({weight.name, weight.dtype, weight.shape, weight.bytes});
  }
  std::vector<SafetensorsItem> take() { return std::move(items_); }

 private:
  void add_codes(const ArtifactWeight& weight) {
    const CtScheme s = ct_scheme(weight);
    const int64_t rows = weight.shape[0], columns = weight.shape[1];
    const std::string module = ct_module(weight.name);
    const bool int8 = s.format == "int-quantized", packed = s.format == "pack-quantized";
    const DType type = int8 ? DType::i8 : packed ? DType::i32 : DType::u8;
    const int64_t width = int8 ? columns : packed ? ct_words(columns, s.bits) : columns / 2;
    made(weight, module + (int8 ? ".weight" : ".weight_packed"), type, {rows, width},
         [s](const Codes& codes) { return code_bytes(codes, s); });
    made(weight, module + ".weight_scale", dtype_of(s.scale),
         {rows, s.group > 0 ? columns / s.group : 1},
         [s, name = weight.name](const Codes& codes) { return scale_bytes(codes, s, name); });
    if (packed) fixed(module + ".weight_shape", DType::i64, {2}, weight.shape);
    if (s.input_static)
      fixed(module + ".input_scale", DType::f32, {1}, std::vector<float>{weight.input->scale});
    if (s.input_fp4 && s.strategy == "tensor_group")
      fixed(module + ".input_global_scale", DType::f32, {1},
            std::vector<float>{weight.input->global});
    if (s.strategy == "tensor_group")
      made(weight, module + ".weight_global_scale", DType::f32, {1}, [](const Codes& codes) {
        const float global = 1.0f / codes.tensor_scale;  // a power of two: exact
        return bytes_like(&global, sizeof global);
      });
  }

  void made(const ArtifactWeight& weight, std::string name, DType dtype, std::vector<int64_t> shape,
            MakeBytes make) {
    items_.push_back({std::move(name), dtype, std::move(shape),
                      [latest = latest_, &weight, make = std::move(make)](const ByteSink& sink) {
                        sink(make(latest->of(weight)));
                      }});
  }

  template <typename T>
  void fixed(std::string name, DType dtype, std::vector<int64_t> shape, std::vector<T> values) {
    items_.push_back({std::move(name), dtype, std::move(shape),
                      [values = std::move(values)](const ByteSink& sink) {
                        sink(std::as_bytes(std::span(values)));
                      }});
  }

  std::vector<SafetensorsItem> items_;
  std::shared_ptr<LatestCodes> latest_ = std::make_shared<LatestCodes>();
};

bool has_fp4(const Artifact& artifact) {
  return std::any_of(artifact.weights.begin(), artifact.weights.end(), [](const auto& weight) {
    return weight.compressed() && ct_scheme(weight).fp4();
  });
}

}  // namespace

const std::vector<std::string>& compressed_tensors_types() {
  static const std::vector<std::string> types = {
      "",      "w4a16", "w8a16", "w8a8",  "w4a8",  "w4a4",     "w4a4-hadamard", "w2a16",
      "w3a16", "w5a16", "w6a16", "w7a16", "nvfp4", "nvfp4a16", "mxfp4",         "mxfp4a16"};
  return types;
}

void check_compressed_tensors(const Artifact& artifact, const std::string& type) {
  bool compressed = false;
  for (const ArtifactWeight& weight : artifact.weights) {
    if (!weight.compressed()) continue;
    compressed = true;
    const Fit fit = ct_fit(*weight.format);
    if (fit.verdict == Verdict::impossible)
      fail(ExitCode::usage, "{} cannot be stored as compressed-tensors: {}", weight.name,
           fit.reason);
    if (!ct_is(weight, type))
      fail(ExitCode::usage,
           "{} is {}, not {}; --format compressed-tensors stores every layer as what it is, or {}",
           weight.name, ct_name(ct_scheme(weight)), type, ct_training(type));
  }
  if (!type.empty() && !compressed)
    fail(ExitCode::usage,
         "compressed-tensors:{} needs codes, but this model was trained without; quantizing it now "
         "would change it. Export hf, or {}",
         type, ct_training(type));
}

void write_compressed_tensors(FileSystem& fs, const Artifact& artifact, const std::string& type,
                              const std::string& folder, int64_t shard_bytes) {
  check_compressed_tensors(artifact, type);
  Items items;
  for (const ArtifactWeight& weight : artifact.weights) items.add(weight);
  HfFolder content;
  content.items = items.take();
  // A narrower type would round scales and products; but readers unpack fp4 into bf16, which holds
  // it exactly, and do not convert it.
  content.dtype = has_fp4(artifact) ? "bfloat16" : "float32";
  content.quantization = ct_config(artifact);
  content.shard_bytes = shard_bytes;
  write_folder(fs, folder, [&](const std::string& temporary) {
    write_hf_folder(fs, artifact, std::move(content), temporary);
  });
}

}  // namespace terse
