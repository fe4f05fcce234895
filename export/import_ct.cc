#include "export/import_ct.h"

#include <cmath>

#include "base/error.h"
#include "base/half.h"
#include "export/ct_unpack.h"
#include "export/parallel_rows.h"

namespace terse {
namespace {

using Layout = CtReadScheme::Layout;

struct Parts {
  TensorView codes, scales;
  float global = 1.0f;  // NVFP4's second scale, by which readers divide
  std::string module;
};

int64_t groups(const CtReadScheme& scheme, int64_t columns) {
  return scheme.group > 0 ? columns / scheme.group : 1;
}

std::vector<float> scale_values(const Parts& parts, Layout layout) {
  std::vector<float> scales(static_cast<size_t>(parts.scales.numel()));
  if (layout == Layout::packed || layout == Layout::int8) {
    widen_to_float(parts.scales.dtype, parts.scales.data, scales.data());
    return scales;
  }
  const auto bytes = parts.scales.as<uint8_t>();
  for (size_t i = 0; i < scales.size(); ++i)
    scales[i] = layout == Layout::nvfp4 ? ct_scale_of_e4m3(bytes[i]) : ct_scale_of_e8m0(bytes[i]);
  return scales;
}

Codes make_codes(const HfTensors& tensors, const Parts& parts, const CtReadScheme& scheme,
                 const CodeFormat& format, const std::vector<int64_t>& shape) {
  Codes codes;
  codes.format = format;
  codes.rows = shape[0];
  codes.columns = shape[1];
  codes.tensor_scale = 1.0f / parts.global;
  codes.scales = scale_values(parts, scheme.layout);
  const int64_t n = codes.rows * codes.columns;
  if (scheme.layout == Layout::int8) {
    const auto stored = parts.codes.as<int8_t>();
    codes.codes.assign(stored.begin(), stored.end());
  } else {
    codes.codes.resize(static_cast<size_t>(n));
    int8_t* out = codes.codes.data();
    if (scheme.layout == Layout::packed) {
      const int64_t words = parts.codes.shape[1];
      const uint32_t* from = parts.codes.as<uint32_t>().data();
      each_row(codes.rows, codes.columns, [&](int64_t r) {
        ct_unpack_row(from + r * words, codes.columns, scheme.bits, out + r * codes.columns);
      });
    } else {
      ct_unpack_fp4(parts.codes.as<uint8_t>().data(), n, out);
    }
  }
  codes.validate(parts.module);
  tensors.release(parts.codes.data);
  tensors.release(parts.scales.data);
  return codes;
}

class Reader {
 public:
  Reader(const HfTensors& tensors, std::string module, std::set<std::string, std::less<>>& left)
      : tensors_(tensors), module_(std::move(module)), left_(left) {}

  [[noreturn]] void bad(const std::string& what) const {
    fail(ExitCode::invalid_file, "{}: {} {}", tensors_.path(), module_, what);
  }

  TensorView take(const char* part, DType dtype, const std::vector<int64_t>& shape) {
    const std::string name = name_of(part);
    left_.erase(name);
    return tensors_.require(name, dtype, shape);
  }

  TensorView take_scales(const CtReadScheme& scheme, const std::vector<int64_t>& shape) {
    const std::string name = name_of("weight_scale");
    const DType dtype = tensors_.require(name).dtype;
    const std::vector<int64_t> due = scheme.group < 0
                                         ? std::vector<int64_t>{1}
                                         : std::vector<int64_t>{shape[0], groups(scheme, shape[1])};
    if (scheme.layout == Layout::nvfp4) return take("weight_scale", DType::f8_e4m3, due);
    if (scheme.layout == Layout::mxfp4) return take("weight_scale", DType::u8, due);
    if (dtype != DType::f32 && dtype != DType::f16 && dtype != DType::bf16)
      bad(fmt::format("has scales of type {}", dtype_name(dtype)));
    return take("weight_scale", dtype, due);
  }

  float take_number(const char* part) {
    const float value = take(part, DType::f32, {1}).as<float>()[0];
    if (!std::isfinite(value) || value <= 0.0f) bad(fmt::format("has {} = {}", part, value));
    return value;
  }

  Parts take_parts(const CtReadScheme& scheme, const std::vector<int64_t>& shape) {
    const int64_t rows = shape[0], columns = shape[1];
    if (scheme.group > 0 && columns % scheme.group != 0)
      bad(fmt::format("has {} columns, no multiple of group_size {}", columns, scheme.group));
    Parts parts;
    parts.module = module_;
    parts.scales = take_scales(scheme, shape);
    if (scheme.layout == Layout::packed) {
      const auto stored = take("weight_shape", DType::i64, {2}).as<int64_t>();
      if (stored[0] != rows || stored[1] != columns)
        bad(fmt::format("is [{}, {}] by weight_shape, the model needs [{}, {}]", stored[0],
                        stored[1], rows, columns));
      parts.codes = take("weight_packed", DType::i32, {rows, (columns * scheme.bits + 31) / 32});
    } else if (scheme.layout == Layout::int8) {
      parts.codes = take("weight", DType::i8, shape);
    } else {
      parts.codes = take("weight_packed", DType::u8, {rows, columns / 2});
    }
    if (scheme.layout == Layout::nvfp4) parts.global = take_number("weight_global_scale");
    return parts;
  }

 private:
  std::string name_of(const char* part) const { return fmt::format("{}.{}", module_, part); }
  const HfTensors& tensors_;
  std::string module_;
  std::set<std::string, std::less<>>& left_;
};

// Empty: inputs are not rounded.
std::optional<InputFormat> input_of(Reader& reader, const CtReadScheme& scheme) {
  using Input = CtReadScheme::Input;
  if (scheme.input_bits == 16) return std::nullopt;
  if (scheme.input == Input::mxfp4) return mxfp4_input();
  if (scheme.input == Input::nvfp4) {
    const float global = reader.take_number("input_global_scale");
    if (!possible_global(global))
      reader.bad(fmt::format(
          "has input_global_scale = {}, no power of two from 2^-20 to 2^20: terse cannot run it",
          global));
    return nvfp4_input(global);
  }
  InputFormat input{.bits = scheme.input_bits};
  if (scheme.input == Input::tensor) input.scale = reader.take_number("input_scale");
  return input;
}

CodeFormat format_of(const CtReadScheme& scheme, DType scales, int64_t hadamard) {
  CodeFormat format;
  format.group = scheme.group;
  format.hadamard = hadamard;
  format.bits = scheme.bits;
  if (scheme.layout == Layout::nvfp4 || scheme.layout == Layout::mxfp4) {
    format.grid = "fp4";
    format.code_min = -12;
    format.code_max = 12;
    format.unit = 0.5f;
    format.scale_type = scheme.layout == Layout::nvfp4 ? ScaleType::e4m3 : ScaleType::e8m0;
    return format;
  }
  format.grid = "int_signed";
  format.code_min = -(1 << (scheme.bits - 1));
  format.code_max = (1 << (scheme.bits - 1)) - 1;
  format.scale_type = scales == DType::f16    ? ScaleType::f16
                      : scales == DType::bf16 ? ScaleType::bf16
                                              : ScaleType::f32;
  return format;
}

}  // namespace

ArtifactWeight import_ct_weight(const std::shared_ptr<const HfTensors>& tensors,
                                const std::string& module, const std::vector<int64_t>& shape,
                                const CtReadScheme& scheme, int64_t hadamard,
                                std::set<std::string, std::less<>>& left) {
  Reader reader(*tensors, module, left);
  const Parts parts = reader.take_parts(scheme, shape);
  if (hadamard < 0) hadamard = shape[1];
  if (hadamard > 0 && ((hadamard & (hadamard - 1)) != 0 || shape[1] % hadamard != 0))
    reader.bad(fmt::format("has {} columns, which a Hadamard transform of {} does not divide",
                           shape[1], hadamard));
  ArtifactWeight weight;
  weight.name = module + ".weight";
  weight.shape = shape;
  weight.format = format_of(scheme, parts.scales.dtype, hadamard);
  weight.codes = [tensors, parts, scheme, format = *weight.format, shape] {
    return make_codes(*tensors, parts, scheme, format, shape);
  };
  weight.input = input_of(reader, scheme);
  return weight;
}

}  // namespace terse
