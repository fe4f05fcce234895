#include <algorithm>
#include <bit>
#include <charconv>
#include <cstring>
#include <set>

#include "base/checksum.h"
#include "base/error.h"
#include "export/byte_cursor.h"
#include "export/onnx.h"

namespace terse {
namespace {

// A decoder of a billion parameters has about 1,000 nodes; a damaged file may claim a node in two
// bytes, which take a hundred times that in memory.
constexpr size_t kMaxNodes = 1 << 17;
constexpr size_t kMaxTensors = 1 << 17;
constexpr size_t kMaxList = 1 << 12;  // inputs, outputs, numbers of an attribute
constexpr size_t kMaxDimensions = 32;

// One field of a protobuf message: a number, or bytes.
struct Field {
  uint32_t number = 0;
  uint32_t wire = 0;  // 0 varint, 1 eight bytes, 2 bytes, 5 four bytes
  uint64_t value = 0;
  std::span<const std::byte> bytes;
};

class Fields {
 public:
  Fields(std::span<const std::byte> bytes, const std::string& path)
      : in_(bytes, path, "ONNX model") {}

  bool next(Field& field) {
    if (in_.left() == 0) return false;
    const uint64_t tag = varint();
    if (tag >> 3 == 0 || tag >> 3 > 0x1fffffff) in_.bad("a field has the number {}", tag >> 3);
    field = {static_cast<uint32_t>(tag >> 3), static_cast<uint32_t>(tag & 7), 0, {}};
    if (field.wire == 0)
      field.value = varint();
    else if (field.wire == 1)
      field.value = in_.number<uint64_t>();
    else if (field.wire == 2)
      field.bytes = in_.take(varint());
    else if (field.wire == 5)
      field.value = in_.number<uint32_t>();
    else
      in_.bad("a field has the wire type {}", field.wire);
    return true;
  }
  size_t position() const { return in_.position(); }
  template <typename... Args>
  [[noreturn]] void bad(fmt::format_string<Args...> format, Args&&... args) const {
    in_.bad(format, std::forward<Args>(args)...);
  }
  std::string text(const Field& field) const {
    expect(field, 2);
    return {reinterpret_cast<const char*>(field.bytes.data()), field.bytes.size()};
  }
  int64_t number(const Field& field) const {
    expect(field, 0);
    return static_cast<int64_t>(field.value);
  }
  // Repeated numbers, one a field or packed into one.
  void numbers(const Field& field, size_t limit, std::vector<int64_t>& out) const {
    if (field.wire == 2) {
      Fields packed(field.bytes, in_.path());
      while (packed.in_.left() > 0) {
        if (out.size() >= limit) bad("more than {} numbers", limit);
        out.push_back(static_cast<int64_t>(packed.varint()));
      }
      return;
    }
    if (out.size() >= limit) bad("more than {} numbers", limit);
    out.push_back(number(field));
  }
  void expect(const Field& field, uint32_t wire) const {
    if (field.wire != wire) bad("field {} has the wire type {}", field.number, field.wire);
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = in_.number<uint8_t>();
      if (shift == 63 && byte > 1) in_.bad("a number is too long");
      value |= uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    in_.bad("a number is too long");
  }
  ByteCursor in_;
};

std::pair<std::string, std::string> read_pair(const Field& field, const Fields& of,
                                              const std::string& path) {
  of.expect(field, 2);
  Fields in(field.bytes, path);
  std::pair<std::string, std::string> pair;
  for (Field f; in.next(f);) {
    if (f.number == 1) pair.first = in.text(f);
    if (f.number == 2) pair.second = in.text(f);
  }
  return pair;
}

void read_attribute(std::span<const std::byte> bytes, const std::string& path, OnnxNode& node) {
  Fields in(bytes, path);
  std::string name;
  std::optional<OnnxAttribute> value;
  std::vector<int64_t> list;
  int64_t type = 0;
  for (Field f; in.next(f);) {
    if (f.number == 1) name = in.text(f);
    if (f.number == 2) {
      in.expect(f, 5);
      value = std::bit_cast<float>(static_cast<uint32_t>(f.value));
    }
    if (f.number == 3) value = in.number(f);
    if (f.number == 4) value = in.text(f);
    if (f.number == 8) in.numbers(f, kMaxList, list);
    if (f.number == 20) type = in.number(f);
  }
  if (type == 7) value = std::move(list);
  if (value && !node.attributes.emplace(name, *std::move(value)).second)
    in.bad("attribute \"{}\" appears twice", name);
}

OnnxNode read_node(std::span<const std::byte> bytes, const std::string& path) {
  Fields in(bytes, path);
  OnnxNode node;
  for (Field f; in.next(f);) {
    if (f.number == 1) node.inputs.push_back(in.text(f));
    if (f.number == 2) node.outputs.push_back(in.text(f));
    if (f.number == 3) node.name = in.text(f);
    if (f.number == 4) node.op = in.text(f);
    if (f.number == 5) {
      in.expect(f, 2);
      read_attribute(f.bytes, path, node);
    }
    if (f.number == 7) node.domain = in.text(f);
    if (node.inputs.size() + node.outputs.size() + node.attributes.size() > kMaxList)
      in.bad("a node has more than {} inputs and outputs", kMaxList);
  }
  return node;
}

int64_t type_size(int32_t type) {
  switch (type) {
    case 2:
    case 3:
    case 9:
      return 1;
    case 4:
    case 5:
    case 10:
    case 16:
      return 2;
    case 1:
    case 6:
    case 12:
      return 4;
    case 7:
    case 11:
    case 13:
      return 8;
    default:
      return 0;  // texts, complex and packed types
  }
}

int64_t place(const std::map<std::string, std::string>& where, const char* key, const Fields& in) {
  const auto found = where.find(key);
  if (found == where.end()) return 0;
  int64_t value = 0;
  const char* const end = found->second.data() + found->second.size();
  const auto [last, error] = std::from_chars(found->second.data(), end, value);
  if (error != std::errc() || last != end || value < 0)
    in.bad("external data have the {} \"{}\"", key, found->second);
  return value;
}

}  // namespace

int64_t OnnxTensor::numel() const {
  int64_t n = 1;
  for (const int64_t d : shape) n *= d;
  return n;
}

struct OnnxFile::State {
  std::string path;
  std::unique_ptr<MappedFile> map;
  std::map<std::string, MappedFile> outside;
  std::span<const std::byte> bytes;
  bool may_open = false;
  Metadata metadata;
  std::vector<OnnxNode> nodes;
  std::vector<OnnxTensor> tensors;
  std::map<std::string_view, const OnnxTensor*> by_name;
  size_t checked = 0;  // bytes before the checksums

  void read(std::span<const std::byte> all) {
    bytes = all;
    Fields in(all, path);
    bool graph = false;
    for (Field f;;) {
      const size_t begin = in.position();
      if (!in.next(f)) break;
      if (f.number == 7) {
        in.expect(f, 2);
        if (std::exchange(graph, true)) in.bad("a second graph");
        read_graph(f.bytes);
      }
      if (f.number == 14) {
        auto pair = read_pair(f, in, path);
        if (pair.first == "terse.checksums") checked = begin;
        if (!metadata.insert(std::move(pair)).second) in.bad("a metadata key appears twice");
      }
      if (f.number == 25) in.bad("the model has functions of its own; terse does not read them");
    }
    if (!graph) in.bad("there is no graph");
    for (const OnnxTensor& tensor : tensors)
      if (!by_name.emplace(tensor.name, &tensor).second)
        in.bad("two initializers are named \"{}\"", tensor.name);
  }

  void read_graph(std::span<const std::byte> graph) {
    Fields in(graph, path);
    for (Field f; in.next(f);) {
      if (f.number == 1) {
        in.expect(f, 2);
        if (nodes.size() >= kMaxNodes) in.bad("more than {} nodes", kMaxNodes);
        nodes.push_back(read_node(f.bytes, path));
      }
      if (f.number == 5) {
        in.expect(f, 2);
        if (tensors.size() >= kMaxTensors) in.bad("more than {} initializers", kMaxTensors);
        tensors.push_back(read_tensor(f.bytes));
      }
      if (f.number == 15) in.bad("sparse initializers are not read");
    }
  }

  OnnxTensor read_tensor(std::span<const std::byte> message) {
    Fields in(message, path);
    OnnxTensor tensor;
    std::map<std::string, std::string> where;
    bool elsewhere = false, raw = false;
    for (Field f; in.next(f);) {
      if (f.number == 1) in.numbers(f, kMaxDimensions, tensor.shape);
      if (f.number == 2) {
        const int64_t type = in.number(f);
        if (type < 0 || type > 64) in.bad("an initializer has the type {}", type);
        tensor.type = static_cast<int32_t>(type);
      }
      if (f.number == 8) tensor.name = in.text(f);
      if (f.number == 9) {
        in.expect(f, 2);
        tensor.data = f.bytes;
        raw = true;
      }
      if (f.number == 13) where.insert(read_pair(f, in, path));
      if (f.number == 14) elsewhere = in.number(f) == 1;
    }
    if (elsewhere) tensor.data = external_data(where, in);
    check_size(tensor, raw || elsewhere, in);
    return tensor;
  }

  void check_size(const OnnxTensor& tensor, bool known, const Fields& in) const {
    int64_t size = type_size(tensor.type);
    for (const int64_t d : tensor.shape)
      if (d < 0 || __builtin_mul_overflow(size, d, &size))
        in.bad("the shape of initializer \"{}\" is not possible", tensor.name);
    // Numbers in typed fields (small constants of other writers) are not read: no weight has them.
    if (!known || type_size(tensor.type) == 0) return;
    if (size != static_cast<int64_t>(tensor.data.size()))
      in.bad("initializer \"{}\" has {} bytes where its shape needs {}", tensor.name,
             tensor.data.size(), size);
  }

  std::span<const std::byte> external_data(const std::map<std::string, std::string>& where,
                                           const Fields& in) {
    const auto found = where.find("location");
    const std::string file = found == where.end() ? "" : found->second;
    if (!may_open || file.empty() || file.find('/') != file.npos || file.find('\0') != file.npos ||
        file == "." || file == "..")
      in.bad("external data in \"{}\": only a file beside the model is read", file);
    const std::string full = fmt::format("{}/{}", directory_of(path), file);
    auto open = outside.find(file);
    if (open == outside.end()) {
      if (outside.size() >= 64) in.bad("external data in more than 64 files");
      open = outside.emplace(file, MappedFile(full)).first;
    }
    const auto all = open->second.bytes();
    const auto offset = static_cast<uint64_t>(place(where, "offset", in));
    const auto length = static_cast<uint64_t>(place(where, "length", in));
    if (offset > all.size() || length > all.size() - offset)
      in.bad("external data lie at byte {} of {} and take {}, it has {}", offset, full, length,
             all.size());
    return all.subspan(offset, length);
  }
};

OnnxFile::OnnxFile(const std::string& path) : state_(new State) {
  state_->path = path;
  state_->may_open = true;
  state_->map = std::make_unique<MappedFile>(path);
  state_->read(state_->map->bytes());
}
OnnxFile::OnnxFile(std::span<const std::byte> bytes, std::string label) : state_(new State) {
  state_->path = std::move(label);
  state_->read(bytes);
}
OnnxFile::OnnxFile(OnnxFile&&) noexcept = default;
OnnxFile& OnnxFile::operator=(OnnxFile&&) noexcept = default;
OnnxFile::~OnnxFile() = default;

const std::string& OnnxFile::path() const {
  return state_->path;
}
const Metadata& OnnxFile::metadata() const {
  return state_->metadata;
}
const std::vector<OnnxNode>& OnnxFile::nodes() const {
  return state_->nodes;
}
const std::vector<OnnxTensor>& OnnxFile::tensors() const {
  return state_->tensors;
}
const OnnxTensor* OnnxFile::find(std::string_view name) const {
  const auto found = state_->by_name.find(name);
  return found == state_->by_name.end() ? nullptr : found->second;
}

int64_t OnnxFile::bytes() const {
  auto total = static_cast<int64_t>(state_->bytes.size());
  for (const auto& [name, map] : state_->outside) total += static_cast<int64_t>(map.bytes().size());
  return total;
}

void OnnxFile::release(std::span<const std::byte> bytes) const {
  if (state_->map) state_->map->release(bytes);
  for (const auto& [name, map] : state_->outside) map.release(bytes);
}

bool OnnxFile::has_checksums() const {
  return metadata().contains("terse.checksums");
}

void OnnxFile::verify_checksums(bool required) const {
  if (!has_checksums()) {
    if (!required) return;
    fail(ExitCode::invalid_file, "{}: no checksums in it; terse writes them", path());
  }
  const std::string& listed = metadata().at("terse.checksums");
  if (listed.size() != 17 * tensors().size() + 16)
    fail(ExitCode::invalid_file, "{}: the list of checksums does not fit the {} initializers",
         path(), tensors().size());
  const auto matches = [&](size_t i, uint64_t value) {
    return listed.compare(17 * i, 16, checksum_hex(value)) == 0 &&
           (i == 0 || listed[17 * i - 1] == ' ');
  };
  for (size_t i = 0; i < tensors().size(); ++i) {
    if (!matches(i + 1, checksum(tensors()[i].data)))
      fail(ExitCode::invalid_file,
           "{}: initializer \"{}\" does not match its checksum: it is corrupt", path(),
           tensors()[i].name);
    release(tensors()[i].data);
  }
  if (!matches(0, checksum(state_->bytes.first(state_->checked))))
    fail(ExitCode::invalid_file, "{}: the model does not match its checksum: it is corrupt",
         path());
}

}  // namespace terse
