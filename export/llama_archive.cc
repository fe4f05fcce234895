#include "export/llama_archive.h"

#include <algorithm>
#include <bit>

#include "base/error.h"
#include "base/half.h"
#include "export/archive.h"
#include "export/folder.h"
#include "export/llama_hf.h"
#include "export/nm_layout.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

// The layout of an N:M pattern; nothing for other patterns and for none.
std::optional<NmLayout> layout_of(const std::string& text) {
  if (text.empty()) return std::nullopt;
  const Pattern pattern = parse_pattern(text);
  if (pattern.unstructured() || pattern.dense()) return std::nullopt;
  return nm_layout(pattern);
}

const std::string& pattern_of(const ArtifactWeight& weight) {
  return weight.compressed() ? weight.format->pattern : weight.pattern;
}

// The narrowest type that holds all scales exactly, whatever type they were rounded to.
DType scale_dtype(ScaleType type) {
  if (type == ScaleType::f32) return DType::f32;
  return type == ScaleType::bf16 || type == ScaleType::e8m0 ? DType::bf16 : DType::f16;
}

class Writer {
 public:
  Writer(const Artifact& artifact, bool coded) : artifact_(artifact), coded_(coded) {
    add_model();
    for (const ArtifactWeight& weight : artifact.weights) add_weight(weight);
    if (!artifact.tokenizer.model.empty())
      add("tokenizer.model", DType::u8, {static_cast<int64_t>(artifact.tokenizer.model.size())},
          [this](const ByteSink& sink) {
            const std::string& bytes = artifact_.tokenizer.model;
            sink(std::as_bytes(std::span(bytes)));
          });
  }
  void write(FileSystem& fs, const std::string& path) const {
    write_archive(fs, path, metadata_, items_);
  }

 private:
  void add(std::string name, DType dtype, std::vector<int64_t> shape, ByteSource bytes) {
    items_.push_back({std::move(name), dtype, std::move(shape), std::move(bytes), coded_});
  }

  void add_model() {
    const LlamaShape& s = artifact_.shape;
    const auto set = [this](const char* key, auto value) {
      metadata_[fmt::format("model/{}", key)] = fmt::format("{}", value);
    };
    set("layers", s.layers);
    set("width", s.width);
    set("heads", s.heads);
    set("kv_heads", s.kv_heads);
    set("hidden", s.hidden);
    set("context", s.context);
    set("vocab", s.vocab);
    set("tie", s.tie ? 1 : 0);
    set("rope_theta", s.rope_theta);
    set("norm_eps", s.norm_eps);
    set("act_bits", artifact_.act_bits);
    const TokenizerData& t = artifact_.tokenizer;
    set("bos", t.bos);
    set("eos", t.eos);
    set("unk", t.unk);
    set("pad", t.pad);
    for (const auto& [key, value] : artifact_.metadata) metadata_["run/" + key] = value;
  }

  // The weight's Codes, made once for all of its tensors: they are written one behind the other.
  std::function<std::shared_ptr<const Codes>()> codes_of(const ArtifactWeight& weight) {
    return [latest = latest_, &weight] {
      if (latest->of != &weight) *latest = {&weight, std::make_shared<Codes>(weight.codes())};
      return latest->codes;
    };
  }

  void add_weight(const ArtifactWeight& weight) {
    const auto layout = layout_of(pattern_of(weight));
    if (layout) metadata_["layout/" + weight.name] = layout->text();
    if (weight.input) metadata_["input/" + weight.name] = to_string(*weight.input);
    if (weight.compressed()) return add_codes(weight, layout);
    if (!weight.pattern.empty()) metadata_["pattern/" + weight.name] = weight.pattern;
    if (!layout) return add(weight.name, weight.dtype, weight.shape, weight.bytes);
    add_kept(weight, *layout);
  }

  void add_positions(const ArtifactWeight& weight, const NmLayout& layout,
                     std::function<std::vector<uint8_t>()> mask) {
    const int64_t rows = weight.shape[0], columns = weight.shape[1];
    add(weight.name + "/positions", DType::u8, {rows, layout.row_bytes(columns)},
        [&weight, layout, rows, columns, mask = std::move(mask)](const ByteSink& sink) {
          const auto bits = mask();
          const auto packed = pack_positions(layout, bits.data(), rows, columns, weight.name);
          sink(std::as_bytes(std::span(packed)));
        });
  }

  // What stays of a dense N:M matrix.
  void add_kept(const ArtifactWeight& weight, const NmLayout& layout) {
    const int64_t rows = weight.shape[0], columns = weight.shape[1];
    const int64_t width = dtype_size(weight.dtype);
    add_positions(weight, layout, [&weight, width, rows, columns] {
      return mask_of_nonzero(dense_bytes(weight), width, rows, columns);
    });
    add(weight.name + "/values", weight.dtype, {rows, columns / layout.of * layout.keep},
        [&weight, layout, width, rows, columns](const ByteSink& sink) {
          const std::vector<std::byte> all = dense_bytes(weight);
          const auto mask = mask_of_nonzero(all, width, rows, columns);
          const auto at = kept_elements(layout, mask, rows, columns, weight.name);
          std::vector<std::byte> kept;
          for (const int64_t i : at)
            kept.insert(kept.end(), all.begin() + i * width, all.begin() + (i + 1) * width);
          sink(kept);
        });
  }

  void add_codes(const ArtifactWeight& weight, const std::optional<NmLayout>& layout) {
    const CodeFormat& format = *weight.format;
    const int64_t rows = weight.shape[0], columns = weight.shape[1];
    metadata_["codes/" + weight.name] = to_string(format);
    metadata_["columns/" + weight.name] = fmt::format("{}", columns);
    if (layout)
      add_positions(weight, *layout, [codes = codes_of(weight)] { return codes()->mask; });
    else if (!format.pattern.empty())
      add(weight.name + "/mask", DType::u8, {rows, mask_stride(columns)},
          [codes = codes_of(weight)](const ByteSink& sink) {
            const auto made = codes();
            sink(std::as_bytes(std::span(made->mask)));
          });
    add(weight.name + "/scales", scale_dtype(format.scale_type),
        {format.group < 0 ? 1 : rows, groups_of(format, columns)},
        [codes = codes_of(weight)](const ByteSink& sink) { send_scales(*codes(), sink); });
    if (format.scale_type == ScaleType::e4m3)
      add(weight.name + "/tensor_scale", DType::f32, {1},
          [codes = codes_of(weight)](const ByteSink& sink) {
            const float scale = codes()->tensor_scale;
            sink(bytes_of(&scale, 1));
          });
    const int64_t kept = layout ? columns / layout->of * layout->keep : columns;
    const int bits =
        coded_ ? 8 : std::bit_width(static_cast<unsigned>(format.code_max - format.code_min));
    add(weight.name + "/codes", coded_ ? DType::i8 : DType::u8, {rows, (kept * bits + 7) / 8},
        [name = weight.name, codes = codes_of(weight), layout, kept, bits](const ByteSink& sink) {
          send_codes(*codes(), name, layout, kept, bits, sink);
        });
  }

  static std::vector<int64_t> kept_elements(const NmLayout& layout,
                                            const std::vector<uint8_t>& mask, int64_t rows,
                                            int64_t columns, const std::string& name) {
    const auto packed = pack_positions(layout, mask.data(), rows, columns, name);
    std::vector<int64_t> at;
    const auto positions = unpack_positions(layout, packed, rows, columns, name);
    at.reserve(positions.size());
    for (size_t i = 0; i < positions.size(); ++i)
      at.push_back(static_cast<int64_t>(i) / layout.keep * layout.of + positions[i]);
    return at;
  }

  static void send_scales(const Codes& codes, const ByteSink& sink) {
    const DType dtype = scale_dtype(codes.format.scale_type);
    if (dtype == DType::f32) return sink(std::as_bytes(std::span(codes.scales)));
    std::vector<uint16_t> halves;
    for (const float scale : codes.scales)
      halves.push_back(dtype == DType::bf16 ? bf16_from_float(scale) : fp16_from_float(scale));
    sink(std::as_bytes(std::span(halves)));
  }

  // Row by row: as bytes, or as `bits`-bit numbers code - code_min from the lowest bit on.
  static void send_codes(const Codes& codes, const std::string& name,
                         const std::optional<NmLayout>& layout, int64_t kept, int bits,
                         const ByteSink& sink) {
    std::vector<int8_t> stay = codes.codes;
    if (layout) {
      stay.clear();
      for (const int64_t i : kept_elements(*layout, codes.mask, codes.rows, codes.columns, name))
        stay.push_back(codes.codes[static_cast<size_t>(i)]);
    }
    if (bits == 8) return sink(std::as_bytes(std::span(stay)));
    std::vector<uint8_t> row(static_cast<size_t>((kept * bits + 7) / 8));
    for (int64_t r = 0; r < codes.rows; ++r) {
      std::fill(row.begin(), row.end(), uint8_t{0});
      for (int64_t i = 0; i < kept; ++i) {
        const auto code =
            static_cast<uint32_t>(stay[static_cast<size_t>(r * kept + i)] - codes.format.code_min);
        const auto byte = static_cast<size_t>(i * bits / 8);
        const uint32_t shifted = code << (i * bits % 8);
        row[byte] = static_cast<uint8_t>(row[byte] | shifted);
        if (shifted > 0xff) row[byte + 1] = static_cast<uint8_t>(row[byte + 1] | shifted >> 8);
      }
      sink(std::as_bytes(std::span(row)));
    }
  }

  struct Latest {
    const ArtifactWeight* of = nullptr;
    std::shared_ptr<const Codes> codes;
  };
  const Artifact& artifact_;
  const bool coded_;
  Metadata metadata_;
  std::vector<ArchiveItem> items_;
  std::shared_ptr<Latest> latest_ = std::make_shared<Latest>();
};

}  // namespace

void write_llama_archive(FileSystem& fs, const Artifact& artifact, const std::string& path) {
  artifact.validate();
  Writer(artifact, true).write(fs, path);
}

Fit nm_fit(const CodeFormat& format) {
  if (!layout_of(format.pattern))
    return {Verdict::impossible,
            "there is no N:M mask; train with [sparsity] pattern = \"2:4\", or export archive", 1,
            0};
  Fit twin = hf_fit(format);
  if (twin.verdict == Verdict::impossible) {
    twin.reason = fmt::format("no dense twin for engines: {}; or export archive", twin.reason);
    return twin;
  }
  return {};
}

void check_nm(const Artifact& artifact) {
  bool sparse = false;
  for (const ArtifactWeight& weight : artifact.weights) {
    sparse |= layout_of(pattern_of(weight)).has_value();
    const Fit twin = weight.compressed() ? hf_fit(*weight.format) : Fit{};
    if (twin.verdict == Verdict::impossible)
      fail(ExitCode::usage, "{} has no dense twin for engines: {}; or export archive", weight.name,
           twin.reason);
  }
  if (!sparse)
    fail(ExitCode::usage,
         "no weight of this model is N:M sparse; train with [sparsity] pattern = \"2:4\", or "
         "export archive");
}

void write_nm(FileSystem& fs, const Artifact& artifact, const std::string& folder) {
  artifact.validate();
  check_nm(artifact);
  write_folder(fs, folder, [&](const std::string& temporary) {
    write_hf_files(fs, artifact, temporary);
    Writer(artifact, false).write(fs, temporary + "/" + kNmFile);
  });
}

}  // namespace terse
