#include "export/import_archive.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>

#include "base/error.h"
#include "export/import_end.h"
#include "export/parallel_rows.h"
#include "sparsity/mask.h"

namespace terse {
namespace {

constexpr std::string_view kParts[] = {"/positions",    "/values", "/scales",
                                       "/tensor_scale", "/codes",  "/mask"};
// Decoded elements for a weight: what a damaged file may make a reader allocate follows from the
// stored bytes (export/archive.h); positions add at most a factor of M.
constexpr int64_t kMaxRow = int64_t{1} << 24;

template <typename T>
T parsed(const ArchiveFile& file, const std::string& key, const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    fail(ExitCode::invalid_file, "{}: \"{}\" is \"{}\", no number", file.path(), key, text);
  return value;
}

const std::string* text_of(const ArchiveFile& file, const std::string& key) {
  const auto found = file.metadata().find(key);
  return found == file.metadata().end() ? nullptr : &found->second;
}

template <typename T>
T model_value(const ArchiveFile& file, const char* name) {
  const std::string key = fmt::format("model/{}", name);
  const std::string* text = text_of(file, key);
  if (text == nullptr) fail(ExitCode::invalid_file, "{}: no \"{}\" in it", file.path(), key);
  return parsed<T>(file, key, *text);
}

int64_t model_size(const ArchiveFile& file, const char* name) {
  const auto value = model_value<int64_t>(file, name);
  if (value < 1 || value > (int64_t{1} << 31))
    fail(ExitCode::invalid_file, "{}: model/{} is {}", file.path(), name, value);
  return value;
}

LlamaShape read_shape(const ArchiveFile& file) {
  LlamaShape s;
  s.layers = model_size(file, "layers");
  s.width = model_size(file, "width");
  s.heads = model_size(file, "heads");
  s.kv_heads = model_size(file, "kv_heads");
  s.hidden = model_size(file, "hidden");
  s.context = model_size(file, "context");
  s.vocab = model_size(file, "vocab");
  s.tie = model_value<int64_t>(file, "tie") != 0;
  s.rope_theta = model_value<double>(file, "rope_theta");
  s.norm_eps = model_value<double>(file, "norm_eps");
  if (s.layers > static_cast<int64_t>(file.tensors().size()))
    fail(ExitCode::invalid_file, "{}: {} layers, but only {} tensors", file.path(), s.layers,
         file.tensors().size());
  return s;
}

// rows and columns of a part, which is a matrix.
const ArchiveTensor& matrix(const ArchiveFile& file, const std::string& name) {
  const ArchiveTensor* tensor = file.find(name);
  if (tensor == nullptr || tensor->shape.size() != 2)
    fail(ExitCode::invalid_file, "{}: no matrix \"{}\"", file.path(), name);
  if (tensor->shape[1] > kMaxRow)
    fail(ExitCode::invalid_file, "{}: \"{}\" has rows of {}", file.path(), name, tensor->shape[1]);
  return *tensor;
}

// Columns of the whole matrix, from what a row keeps.
int64_t columns_of(const ArchiveFile& file, const std::string& name, int64_t kept,
                   const std::optional<NmLayout>& layout) {
  if (!layout) return kept;
  if (kept % layout->keep != 0)
    fail(ExitCode::invalid_file, "{}: rows of \"{}\" keep {}, no multiple of {}", file.path(), name,
         kept, layout->keep);
  return kept / layout->keep * layout->of;
}

// Before it is decoded: a coded tensor may claim 2,048 times what it takes in the file.
void require_size(const ArchiveFile& file, const ArchiveTensor& tensor, int64_t elements) {
  if (tensor.numel() != elements)
    fail(ExitCode::invalid_file, "{}: \"{}\" has {} elements where {} are due", file.path(),
         tensor.name, tensor.numel(), elements);
}

std::vector<float> read_scales(const ArchiveFile& file, const ArchiveTensor& tensor,
                               int64_t count) {
  require_size(file, tensor, count);
  std::vector<std::byte> bytes = archive_bytes(file, tensor);
  std::vector<float> scales(static_cast<size_t>(tensor.numel()));
  if (tensor.dtype != DType::f32 && tensor.dtype != DType::f16 && tensor.dtype != DType::bf16)
    fail(ExitCode::invalid_file, "{}: scales \"{}\" are {}", file.path(), tensor.name,
         dtype_name(tensor.dtype));
  widen_to_float(tensor.dtype, bytes, scales.data());
  return scales;
}

// Codes of a row that are stored with `bits` bits each, from the lowest on.
void unpack_codes(const uint8_t* row, int64_t count, int bits, int code_min, int8_t* out) {
  if (bits == 0) std::fill_n(out, count, static_cast<int8_t>(code_min));  // there are no bytes
  const unsigned mask = (1u << bits) - 1;
  for (int64_t i = 0; i < count && bits > 0; ++i) {
    const int64_t byte = i * bits / 8, shift = i * bits % 8;
    unsigned window = row[byte];
    if (shift + bits > 8) window |= static_cast<unsigned>(row[byte + 1]) << 8;
    const auto code = static_cast<int>(window >> shift & mask);
    out[i] = static_cast<int8_t>(bits == 8 ? code : code + code_min);
  }
}

// What stays, rows x kept.
std::vector<int8_t> read_kept(const ArchiveFile& file, const ArchiveTensor& tensor,
                              const CodeFormat& format, int64_t kept) {
  std::vector<int8_t> codes(static_cast<size_t>(tensor.shape[0] * kept));
  if (tensor.dtype == DType::i8) {  // `kept` bytes a row
    file.read(tensor, codes.data());
    return codes;
  }
  const std::vector<std::byte> bytes = archive_bytes(file, tensor);
  const int bits = std::bit_width(static_cast<unsigned>(format.code_max - format.code_min));
  each_row(tensor.shape[0], kept, [&](int64_t r) {
    unpack_codes(reinterpret_cast<const uint8_t*>(bytes.data()) + r * tensor.shape[1], kept, bits,
                 format.code_min, codes.data() + r * kept);
  });
  return codes;
}

struct CodesPlace {
  CodeFormat format;
  int64_t rows = 0, columns = 0, kept = 0;
  std::optional<NmLayout> layout;
};

CodesPlace place_of(const ArchiveFile& file, const std::string& name, const std::string& text) {
  CodesPlace place;
  place.format = parse_code_format(text);
  const CodeFormat& f = place.format;
  if (f.code_min > f.code_max || f.code_min < -128 || f.code_max > 127 || f.group < -1)
    fail(ExitCode::invalid_file, "{}: \"{}\" has the impossible format {}", file.path(), name,
         text);
  place.layout = archive_layout(file, name);
  const ArchiveTensor& codes = matrix(file, name + "/codes");
  place.rows = codes.shape[0];
  const auto* columns = text_of(file, "columns/" + name);
  if (columns == nullptr)
    fail(ExitCode::invalid_file, "{}: no number of columns of \"{}\"", file.path(), name);
  place.columns = parsed<int64_t>(file, "columns/" + name, *columns);
  const int64_t of = place.layout ? place.layout->of : 1;
  if (place.columns < 1 || place.columns > kMaxRow || place.columns % of != 0)
    fail(ExitCode::invalid_file, "{}: \"{}\" has {} columns", file.path(), name, place.columns);
  place.kept = place.layout ? place.columns / of * place.layout->keep : place.columns;
  const int bits =
      codes.dtype == DType::i8 ? 8 : std::bit_width(static_cast<unsigned>(f.code_max - f.code_min));
  if ((codes.dtype != DType::i8 && codes.dtype != DType::u8) ||
      codes.shape[1] != (place.kept * bits + 7) / 8)
    fail(ExitCode::invalid_file, "{}: \"{}/codes\" has rows of {} bytes for {} codes", file.path(),
         name, codes.shape[1], place.kept);
  return place;
}

Codes read_codes(const ArchiveFile& file, const std::string& name, const CodesPlace& place) {
  Codes codes;
  codes.format = place.format;
  codes.rows = place.rows;
  codes.columns = place.columns;
  codes.scales = read_scales(file, matrix(file, name + "/scales"), codes.scale_count());
  if (const ArchiveTensor* scale = file.find(name + "/tensor_scale"); scale != nullptr) {
    if (scale->dtype != DType::f32 || scale->numel() != 1)
      fail(ExitCode::invalid_file, "{}: \"{}\" is no number", file.path(), scale->name);
    file.read(*scale, &codes.tensor_scale);
  }
  std::vector<int8_t> kept =
      read_kept(file, matrix(file, name + "/codes"), place.format, place.kept);
  if (place.layout) {
    const NmLayout& layout = *place.layout;
    const auto positions = archive_positions(file, name, layout, place.rows, place.columns);
    codes.mask = mask_of_positions(layout, positions, place.rows, place.columns);
    codes.codes.assign(static_cast<size_t>(place.rows * place.columns), 0);
    for (size_t i = 0; i < kept.size(); ++i)
      codes.codes[i / static_cast<size_t>(layout.keep) * static_cast<size_t>(layout.of) +
                  positions[i]] = kept[i];
  } else {
    codes.codes = std::move(kept);
    if (const ArchiveTensor* mask = file.find(name + "/mask"); mask != nullptr) {
      require_size(file, *mask, place.rows * mask_stride(place.columns));
      codes.mask.resize(static_cast<size_t>(mask->bytes()));
      file.read(*mask, codes.mask.data());
    }
  }
  codes.validate(name);
  return codes;
}

// Dense again, zeros in place.
std::vector<std::byte> spread(const ArchiveFile& file, const std::string& name,
                              const ArchiveTensor& values, const NmLayout& layout,
                              int64_t columns) {
  const auto positions = archive_positions(file, name, layout, values.shape[0], columns);
  const std::vector<std::byte> kept = archive_bytes(file, values);
  const auto width = static_cast<size_t>(dtype_size(values.dtype));
  std::vector<std::byte> all(static_cast<size_t>(values.shape[0] * columns) * width);
  for (size_t i = 0; i < positions.size(); ++i)
    std::memcpy(
        all.data() +
            (i / static_cast<size_t>(layout.keep) * static_cast<size_t>(layout.of) + positions[i]) *
                width,
        kept.data() + i * width, width);
  return all;
}

void require_real(const ArchiveFile& file, const ArchiveTensor& tensor) {
  if (tensor.dtype != DType::f32 && tensor.dtype != DType::f16 && tensor.dtype != DType::bf16)
    fail(ExitCode::invalid_file, "{}: tensor \"{}\" is {}, no weight", file.path(), tensor.name,
         dtype_name(tensor.dtype));
}

}  // namespace

std::vector<std::byte> archive_bytes(const ArchiveFile& file, const ArchiveTensor& tensor) {
  std::vector<std::byte> bytes(static_cast<size_t>(tensor.bytes()));
  file.read(tensor, bytes.data());
  return bytes;
}

std::optional<NmLayout> archive_layout(const ArchiveFile& file, const std::string& name) {
  const std::string* text = text_of(file, "layout/" + name);
  if (text == nullptr) return std::nullopt;
  return parse_nm_layout(*text, file.path());
}

std::vector<uint16_t> archive_positions(const ArchiveFile& file, const std::string& name,
                                        const NmLayout& layout, int64_t rows, int64_t columns) {
  const ArchiveTensor& stored = matrix(file, name + "/positions");
  if (stored.dtype != DType::u8 || stored.shape[0] != rows ||
      stored.shape[1] != layout.row_bytes(columns))
    fail(ExitCode::invalid_file, "{}: \"{}\" is {} [{}], {} x {} at {} need other positions",
         file.path(), stored.name, dtype_name(stored.dtype), fmt::join(stored.shape, ", "), rows,
         columns, layout.text());
  const std::vector<std::byte> bytes = archive_bytes(file, stored);
  return unpack_positions(layout, {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()},
                          rows, columns, name);
}

Metadata archive_run_metadata(const ArchiveFile& file) {
  Metadata metadata;
  for (const auto& [key, value] : file.metadata())
    if (key.starts_with("run/")) metadata[key.substr(4)] = value;
  return metadata;
}

std::vector<std::string> archive_weights(const ArchiveFile& file) {
  std::vector<std::string> names;
  for (const ArchiveTensor& tensor : file.tensors()) {
    if (tensor.name == "tokenizer.model") continue;
    std::string name = tensor.name;
    for (const std::string_view part : kParts)
      if (name.ends_with(part)) name.resize(name.size() - part.size());
    if (names.empty() || names.back() != name) names.push_back(name);
  }
  return names;
}

std::vector<const ArchiveTensor*> archive_parts(const ArchiveFile& file, const std::string& name) {
  std::vector<const ArchiveTensor*> parts;
  if (const ArchiveTensor* whole = file.find(name); whole != nullptr) parts.push_back(whole);
  for (const std::string_view part : kParts)
    if (const ArchiveTensor* found = file.find(fmt::format("{}{}", name, part)); found != nullptr)
      parts.push_back(found);
  return parts;
}

ArtifactWeight archive_weight(const std::shared_ptr<const ArchiveFile>& file,
                              const std::string& name) {
  ArtifactWeight weight;
  weight.name = name;
  if (const std::string* text = text_of(*file, "input/" + name); text != nullptr)
    weight.input = parse_input_format(*text);
  if (const std::string* text = text_of(*file, "codes/" + name); text != nullptr) {
    const CodesPlace place = place_of(*file, name, *text);
    weight.shape = {place.rows, place.columns};
    weight.format = place.format;
    weight.codes = [file, name, place] { return read_codes(*file, name, place); };
    return weight;
  }
  const auto layout = archive_layout(*file, name);
  if (const std::string* pattern = text_of(*file, "pattern/" + name); pattern != nullptr)
    weight.pattern = *pattern;
  const ArchiveTensor* tensor = layout ? &matrix(*file, name + "/values") : file->find(name);
  if (tensor == nullptr)
    fail(ExitCode::invalid_file, "{}: no tensor named \"{}\"", file->path(), name);
  require_real(*file, *tensor);
  weight.dtype = tensor->dtype;
  weight.shape = tensor->shape;
  if (!layout) {
    weight.bytes = [file, tensor](const ByteSink& sink) { file->read(*tensor, sink); };
    return weight;
  }
  const int64_t columns = columns_of(*file, name, tensor->shape[1], layout);
  weight.shape[1] = columns;
  weight.bytes = [file, name, tensor, layout, columns](const ByteSink& sink) {
    sink(spread(*file, name, *tensor, *layout, columns));
  };
  return weight;
}

Artifact import_archive(const std::shared_ptr<const ArchiveFile>& file) {
  Artifact artifact;
  artifact.shape = read_shape(*file);
  artifact.act_bits = model_value<int64_t>(*file, "act_bits");
  TokenizerData& t = artifact.tokenizer;
  t.bos = model_value<int64_t>(*file, "bos");
  t.eos = model_value<int64_t>(*file, "eos");
  t.unk = model_value<int64_t>(*file, "unk");
  t.pad = model_value<int64_t>(*file, "pad");
  if (const ArchiveTensor* model = file->find("tokenizer.model"); model != nullptr) {
    t.model.resize(static_cast<size_t>(model->bytes()));
    file->read(*model, t.model.data());
  }
  artifact.metadata = archive_run_metadata(*file);
  for (const std::string& name : archive_weights(*file))
    artifact.weights.push_back(archive_weight(file, name));
  return finished_import(std::move(artifact), file, file->path());
}

}  // namespace terse
