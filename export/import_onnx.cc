#include "export/import_onnx.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "export/import_end.h"
#include "export/import_onnx_input.h"
#include "export/mapped_weight.h"
#include "export/parallel_rows.h"

namespace terse {
namespace {

constexpr int32_t kFloat = 1, kUint8 = 2, kInt8 = 3, kHalf = 10, kBrain = 16;
constexpr int64_t kMaxSize = int64_t{1} << 31;

int64_t size_of(int32_t type) {
  return type == kFloat ? 4 : type == kHalf || type == kBrain ? 2 : 1;
}

[[noreturn]] void bad(const OnnxFile& file, const std::string& name, const std::string& what) {
  fail(ExitCode::invalid_file, "{}: \"{}\": {}", file.path(), name, what);
}

const OnnxTensor& tensor(const OnnxFile& file, const std::string& name, int32_t type) {
  const OnnxTensor* found = file.find(name);
  if (found == nullptr) bad(file, name, "no such initializer");
  if (found->type != type)
    bad(file, name, fmt::format("has the type {}, not {}", found->type, type));
  // The reader lets those pass whose numbers lie in typed fields, which it does not read.
  if (static_cast<int64_t>(found->data.size()) != found->numel() * size_of(type))
    bad(file, name, "has no raw data; write the numbers as raw_data or as external data");
  return *found;
}

int64_t integer(const OnnxFile& file, const OnnxNode& node, const char* key, int64_t otherwise) {
  const auto found = node.attributes.find(key);
  if (found == node.attributes.end()) return otherwise;
  const auto* value = std::get_if<int64_t>(&found->second);
  if (value == nullptr || *value < -1 || *value > kMaxSize)
    bad(file, node.name, fmt::format("attribute {} is no size", key));
  return *value;
}

// The node that takes `name` at `position`.
const OnnxNode* taker(const OnnxFile& file, const std::string& name, size_t position) {
  for (const OnnxNode& node : file.nodes())
    if (node.inputs.size() > position && node.inputs[position] == name) return &node;
  return nullptr;
}

std::vector<float> floats(const OnnxTensor& from) {
  std::vector<float> values(from.data.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), from.data.data(), values.size() * sizeof(float));
  return values;
}

int bits_at(std::span<const std::byte> bytes, int64_t index, int bits) {
  const auto byte = std::to_integer<int>(bytes[static_cast<size_t>(index * bits / 8)]);
  return byte >> (index * bits % 8) & ((1 << bits) - 1);
}

// What both kinds of codes have: a whole-number grid with fp32 scales.
CodeFormat stored_format(int bits, int low, int high, int64_t group) {
  CodeFormat format;
  format.grid = "int_signed";
  format.bits = bits;
  format.code_min = low;
  format.code_max = high;
  format.group = group;
  format.scale_type = ScaleType::f32;
  return format;
}

// MatMulNBits: y = x W^T with W [N, K] in blocks along K.
struct NBits {
  int64_t rows = 0, columns = 0, block = 0, blocks = 0;
  int bits = 0;
  const OnnxTensor* codes = nullptr;
  const OnnxTensor* scales = nullptr;
  const OnnxTensor* zeros = nullptr;  // null: half of the range

  int zero_point(int64_t row, int64_t block_index) const {
    if (zeros == nullptr) return 1 << (bits - 1);
    const int64_t stride = (blocks * bits + 7) / 8;
    return bits_at(zeros->data.subspan(static_cast<size_t>(row * stride)), block_index, bits);
  }
};

NBits read_nbits(const OnnxFile& file, const OnnxNode& node) {
  NBits n;
  n.columns = integer(file, node, "K", -1);
  n.rows = integer(file, node, "N", -1);
  n.block = integer(file, node, "block_size", -1);
  n.bits = static_cast<int>(integer(file, node, "bits", 4));
  const bool possible = n.columns > 0 && n.rows > 0 && n.block >= 16 && n.block <= 4096 &&
                        (n.block & (n.block - 1)) == 0 &&
                        (n.bits == 2 || n.bits == 4 || n.bits == 8) &&
                        n.rows <= kMaxSize / n.columns;
  if (!possible || node.inputs.size() < 3) bad(file, node.name, "an impossible MatMulNBits");
  n.blocks = (n.columns + n.block - 1) / n.block;
  n.codes = &tensor(file, node.inputs[1], kUint8);
  n.scales = &tensor(file, node.inputs[2], kFloat);
  if (node.inputs.size() > 3 && !node.inputs[3].empty())
    n.zeros = &tensor(file, node.inputs[3], kUint8);
  const int64_t stride = (n.blocks * n.bits + 7) / 8;
  if (static_cast<int64_t>(n.codes->data.size()) != n.rows * n.blocks * n.block * n.bits / 8 ||
      static_cast<int64_t>(n.scales->data.size()) !=
          n.rows * n.blocks * static_cast<int64_t>(sizeof(float)) ||
      (n.zeros != nullptr && static_cast<int64_t>(n.zeros->data.size()) != n.rows * stride))
    bad(file, node.name,
        fmt::format("codes, scales or zero points do not fit {} x {}", n.rows, n.columns));
  return n;
}

// `count` integers of kBits bits from the lowest on, less the zero point.
template <int kBits>
void unpack(const std::byte* in, int64_t count, int zero, int8_t* out) {
  constexpr int kEach = 8 / kBits;  // of a byte
  constexpr int kMask = (1 << kBits) - 1;
  int64_t i = 0;
  for (; i + kEach <= count; i += kEach, ++in) {
    const int byte = std::to_integer<int>(*in);
    for (int k = 0; k < kEach; ++k)
      out[i + k] = static_cast<int8_t>((byte >> (k * kBits) & kMask) - zero);
  }
  for (int k = 0; i < count; ++i, ++k)
    out[i] = static_cast<int8_t>((std::to_integer<int>(*in) >> (k * kBits) & kMask) - zero);
}

void unpack(const std::byte* in, int64_t count, int bits, int zero, int8_t* out) {
  if (bits == 2) return unpack<2>(in, count, zero, out);
  if (bits == 4) return unpack<4>(in, count, zero, out);
  unpack<8>(in, count, zero, out);
}

// Whether blocks divide the rows, as Codes need; else the last block's scale is a row's only one.
int64_t group_of(const NBits& n) {
  return n.columns % n.block == 0 ? n.block : 0;
}

Codes nbits_codes(const OnnxFile& file, const std::string& name, const NBits& n,
                  const CodeFormat& format) {
  Codes codes;
  codes.format = format;
  codes.rows = n.rows;
  codes.columns = n.columns;
  codes.codes.resize(static_cast<size_t>(n.rows * n.columns));
  each_row(n.rows, n.columns, [&](int64_t r) {
    for (int64_t b = 0; b < n.blocks; ++b) {
      const int64_t begin = b * n.block, count = std::min(n.block, n.columns - begin);
      unpack(n.codes->data.data() + (r * n.blocks + b) * n.block * n.bits / 8, count, n.bits,
             n.zero_point(r, b), codes.codes.data() + r * n.columns + begin);
    }
  });
  codes.scales = floats(*n.scales);
  if (format.group == 0 && n.blocks > 1) {
    const std::vector<float> all = std::move(codes.scales);
    for (int64_t r = 0; r < n.rows; ++r) {
      const auto first = all.begin() + r * n.blocks;
      if (std::any_of(first, first + n.blocks, [&](float s) { return s != *first; }))
        bad(file, name, "blocks that do not divide a row have several scales");
      codes.scales.push_back(*first);
    }
  }
  codes.validate(name);
  file.release(n.codes->data);
  file.release(n.scales->data);
  return codes;
}

ArtifactWeight nbits_weight(const std::shared_ptr<const OnnxFile>& file, const std::string& name,
                            const OnnxNode& node) {
  const NBits n = read_nbits(*file, node);
  ArtifactWeight weight;
  weight.name = name;
  weight.shape = {n.rows, n.columns};
  int least = 1 << n.bits, most = 0;  // of the zero points
  for (int64_t r = 0; r < n.rows; ++r)
    for (int64_t b = 0; b < n.blocks; ++b) {
      least = std::min(least, n.zero_point(r, b));
      most = std::max(most, n.zero_point(r, b));
    }
  const int low = -most, high = (1 << n.bits) - 1 - least;
  if (low < -128 || high > 127) bad(*file, name, "codes that need more than 8 bits with a sign");
  weight.format = stored_format(n.bits, low, high, group_of(n));
  weight.codes = [file, name, n, format = *weight.format] {
    return nbits_codes(*file, name, n, format);
  };
  return weight;
}

// DequantizeLinear: y = x W with W [K, N], int8.
ArtifactWeight qdq_weight(const std::shared_ptr<const OnnxFile>& file, const std::string& name,
                          const OnnxNode& node) {
  const OnnxTensor& stored = tensor(*file, name, kInt8);
  if (stored.shape.size() != 2 || node.inputs.size() != 2)
    bad(*file, name, "DequantizeLinear with a zero point, or of no matrix");
  const int64_t columns = stored.shape[0], rows = stored.shape[1];
  const OnnxTensor& scales = tensor(*file, node.inputs[1], kFloat);
  const int64_t block = integer(*file, node, "block_size", 0);
  const int64_t axis = integer(*file, node, "axis", 1);
  int64_t group = -1;
  std::vector<int64_t> expected;
  if (block > 0 && columns % block == 0 && axis == 0) {
    group = block;
    expected = {columns / block, rows};
  } else if (!scales.shape.empty()) {
    group = 0;
    expected = {rows};
  }
  if (scales.shape != expected || (group == 0 && axis != 1) || (block > 0 && group != block))
    bad(*file, name, "scales that do not fit the weight");
  ArtifactWeight weight;
  weight.name = name;
  weight.shape = {rows, columns};
  weight.format = stored_format(8, -128, 127, group);
  weight.codes = [file, name, &stored, &scales, rows, columns, format = *weight.format] {
    Codes codes;
    codes.format = format;
    codes.rows = rows;
    codes.columns = columns;
    codes.codes.resize(static_cast<size_t>(rows * columns));
    const std::vector<float> all = floats(scales);
    each_row(rows, columns, [&](int64_t r) {
      for (int64_t c = 0; c < columns; ++c)
        codes.codes[static_cast<size_t>(r * columns + c)] =
            static_cast<int8_t>(stored.data[static_cast<size_t>(c * rows + r)]);
    });
    codes.scales = all;
    const int64_t groups = format.group > 0 ? columns / format.group : 0;
    for (int64_t g = 0; g < groups; ++g)
      for (int64_t r = 0; r < rows; ++r)
        codes.scales[static_cast<size_t>(r * groups + g)] = all[static_cast<size_t>(g * rows + r)];
    codes.validate(name);
    file->release(stored.data);
    return codes;
  };
  return weight;
}

ArtifactWeight dense(const std::shared_ptr<const OnnxFile>& file, const OnnxTensor& stored) {
  const DType dtype = stored.type == kFloat   ? DType::f32
                      : stored.type == kHalf  ? DType::f16
                      : stored.type == kBrain ? DType::bf16
                                              : DType::boolean;
  if (dtype == DType::boolean || stored.shape.empty() || stored.shape.size() > 2 ||
      static_cast<int64_t>(stored.data.size()) != stored.numel() * dtype_size(dtype))
    bad(*file, stored.name, "is no dense weight that terse can run");
  return dense_weight_of(file, stored.name, {dtype, stored.shape, stored.data});
}

ArtifactWeight stored_weight(const std::shared_ptr<const OnnxFile>& file, const std::string& name) {
  const OnnxTensor* stored = file->find(name);
  if (stored == nullptr) bad(*file, name, "no such initializer");
  if (const OnnxNode* node = taker(*file, name, 1); node != nullptr && node->op == "MatMulNBits")
    return nbits_weight(file, name, *node);
  if (const OnnxNode* node = taker(*file, name, 0);
      node != nullptr && node->op == "DequantizeLinear")
    return qdq_weight(file, name, *node);
  return dense(file, *stored);
}

double number_in(const OnnxFile& file, const char* key) {
  const auto found = file.metadata().find(key);
  if (found == file.metadata().end()) bad(file, key, "is not in the metadata");
  double value = 0;
  const char* const end = found->second.data() + found->second.size();
  const auto [last, error] = std::from_chars(found->second.data(), end, value);
  if (error != std::errc() || last != end) bad(file, key, "is no number");
  return value;
}

LlamaShape read_shape(const OnnxFile& file, const std::vector<ArtifactWeight>& weights) {
  const auto size = [&](const char* name, size_t dimension) {
    for (const ArtifactWeight& w : weights)
      if (w.name == name && w.shape.size() == 2) return w.shape[dimension];
    bad(file, name, "no such matrix");
  };
  LlamaShape s;
  s.vocab = size("model.embed_tokens.weight", 0);
  s.width = size("model.embed_tokens.weight", 1);
  s.hidden = size("model.layers.0.mlp.gate_proj.weight", 0);
  s.tie = std::none_of(weights.begin(), weights.end(),
                       [](const auto& w) { return w.name == "lm_head.weight"; });
  for (const OnnxNode& node : file.nodes()) {
    if (node.op != "GroupQueryAttention") continue;
    ++s.layers;
    s.heads = integer(file, node, "num_heads", 0);
    s.kv_heads = integer(file, node, "kv_num_heads", 0);
  }
  const OnnxTensor& cosine = tensor(file, "cos_cache", kFloat);
  if (cosine.shape.size() != 2) bad(file, cosine.name, "is no matrix");
  s.context = cosine.shape[0];
  s.rope_theta = number_in(file, "terse.rope_theta");
  s.norm_eps = number_in(file, "terse.norm_eps");
  if (s.heads < 1 || s.kv_heads < 1 || s.width % s.heads != 0)
    bad(file, "GroupQueryAttention", "heads that do not fit the width");
  return s;
}

}  // namespace

Metadata onnx_run_metadata(const OnnxFile& file) {
  Metadata metadata;
  for (const auto& [key, value] : file.metadata())
    if (key.starts_with("terse.") && key != "terse.checksums" && key != "terse.act_bits" &&
        key != "terse.rope_theta" && key != "terse.norm_eps" && !says_onnx_input(key))
      metadata[key.substr(6)] = value;
  return metadata;
}

std::vector<std::string> onnx_weights(const OnnxFile& file) {
  std::vector<std::string> names;
  for (const OnnxTensor& one : file.tensors())
    if (one.name.ends_with(".weight")) names.push_back(one.name);
  return names;
}

std::vector<std::string> onnx_beside(const OnnxFile& file, const std::string& name) {
  const auto from = [&](const OnnxNode* node, const char* op, size_t first) {
    std::vector<std::string> names;
    if (node == nullptr || node->op != op) return names;
    for (size_t i = first; i < node->inputs.size(); ++i)
      if (file.find(node->inputs[i]) != nullptr) names.push_back(node->inputs[i]);
    return names;
  };
  std::vector<std::string> names = from(taker(file, name, 1), "MatMulNBits", 2);
  return names.empty() ? from(taker(file, name, 0), "DequantizeLinear", 1) : names;
}

ArtifactWeight onnx_weight(const std::shared_ptr<const OnnxFile>& file, const std::string& name) {
  ArtifactWeight weight = stored_weight(file, name);
  weight.input = onnx_input(*file, name);
  return weight;
}

Artifact import_onnx(const std::shared_ptr<const OnnxFile>& file) {
  Artifact artifact;
  for (const std::string& name : onnx_weights(*file))
    artifact.weights.push_back(onnx_weight(file, name));
  artifact.shape = read_shape(*file, artifact.weights);
  const double act_bits = number_in(*file, "terse.act_bits");
  if (!(act_bits >= 1 && act_bits <= 32)) bad(*file, "terse.act_bits", "is no number of bits");
  artifact.act_bits = static_cast<int64_t>(act_bits);
  artifact.metadata = onnx_run_metadata(*file);
  return finished_import(std::move(artifact), file, file->path());
}

}  // namespace terse
