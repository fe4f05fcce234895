#include "base/checksum.h"
#include "base/error.h"
#include "export/onnx.h"
#include "export/protobuf_writer.h"

namespace terse {
namespace {

using protobuf::Message;

constexpr int64_t kIrVersion = 10;
constexpr int64_t kAlignment = 4096;  // of external data: a page, so that readers may map it

Message port_message(const OnnxPort& port) {
  Message shape;
  for (const auto& size : port.shape) {
    Message dimension;
    if (const auto* number = std::get_if<int64_t>(&size))
      dimension.number(1, static_cast<uint64_t>(*number));
    else
      dimension.text(2, std::get<std::string>(size));
    shape.message(1, dimension);
  }
  Message tensor, type, value;
  tensor.number(1, static_cast<uint64_t>(port.type));
  tensor.message(2, shape);
  type.message(1, tensor);
  value.text(1, port.name);
  value.message(2, type);
  return value;
}

Message attribute_message(const std::string& name, const OnnxAttribute& attribute) {
  Message out;
  out.text(1, name);
  if (const auto* real = std::get_if<float>(&attribute)) {
    out.number(2, *real);
    out.number(20, uint64_t{1});
  } else if (const auto* whole = std::get_if<int64_t>(&attribute)) {
    out.number(3, static_cast<uint64_t>(*whole));
    out.number(20, uint64_t{2});
  } else if (const auto* text = std::get_if<std::string>(&attribute)) {
    out.text(4, *text);
    out.number(20, uint64_t{3});
  } else {
    for (const int64_t one : std::get<std::vector<int64_t>>(attribute))
      out.number(8, static_cast<uint64_t>(one));
    out.number(20, uint64_t{7});
  }
  return out;
}

Message node_message(const OnnxNode& node) {
  Message out;
  for (const std::string& input : node.inputs) out.text(1, input);
  for (const std::string& output : node.outputs) out.text(2, output);
  out.text(3, node.name);
  out.text(4, node.op);
  for (const auto& [name, attribute] : node.attributes)
    out.message(5, attribute_message(name, attribute));
  if (!node.domain.empty()) out.text(7, node.domain);
  return out;
}

Message pair_message(const std::string& key, const std::string& value) {
  Message out;
  out.text(1, key);
  out.text(2, value);
  return out;
}

Message item_message(const OnnxItem& item) {
  Message out;
  for (const int64_t size : item.shape) out.number(1, static_cast<uint64_t>(size));
  out.number(2, static_cast<uint64_t>(item.type));
  out.text(8, item.name);
  return out;
}

// Sends the data to `sink`; returns their checksum.
uint64_t send(const std::string& path, const OnnxItem& item, const ByteSink& sink) {
  Checksum sum;
  int64_t given = 0;
  item.bytes([&](std::span<const std::byte> piece) {
    sum.update(piece);
    given += static_cast<int64_t>(piece.size());
    sink(piece);
  });
  if (given != item.size())
    fail(ExitCode::invalid_file, "{}: initializer \"{}\" gave {} bytes where its shape needs {}",
         path, item.name, given, item.size());
  return sum.value();
}

// Shapes are inferred from small constants, which some readers only look for in the model.
bool goes_outside(const OnnxItem& item, bool external) {
  return external && item.size() >= 1024;
}

int64_t aligned(int64_t offset) {
  return (offset + kAlignment - 1) / kAlignment * kAlignment;
}

void write_data(FileSystem& fs, const std::string& path, const OnnxModel& model,
                std::vector<uint64_t>& sums) {
  write_atomically(fs, path, [&](WritableFile& file) {
    int64_t offset = 0;
    for (size_t i = 0; i < model.initializers.size(); ++i) {
      const OnnxItem& item = model.initializers[i];
      if (!goes_outside(item, true)) continue;
      const std::vector<std::byte> zeros(static_cast<size_t>(aligned(offset) - offset));
      file.append(zeros);
      sums[i] = send(path, item, [&](auto piece) { file.append(piece); });
      offset = aligned(offset) + item.size();
    }
  });
}

// The model's fields, hashed as they are written.
class Output {
 public:
  explicit Output(WritableFile& file) : file_(file) {}
  void append(std::span<const std::byte> bytes) {
    sum_.update(bytes);
    file_.append(bytes);
  }
  void append(const Message& message) { append(std::as_bytes(std::span(message.bytes()))); }
  uint64_t checksum() const { return sum_.value(); }

 private:
  WritableFile& file_;
  Checksum sum_;
};

class ModelWriter {
 public:
  ModelWriter(const std::string& path, const OnnxModel& model, bool external)
      : path_(path), model_(model), external_(external) {}

  void write(FileSystem& fs, std::vector<uint64_t> sums) {
    write_atomically(fs, path_, [&](WritableFile& file) {
      Output out(file);
      out.append(head());
      write_graph(out, sums);
      std::string list = checksum_hex(out.checksum());
      for (const uint64_t sum : sums) list += " " + checksum_hex(sum);
      Message last;
      last.message(14, pair_message("terse.checksums", list));
      out.append(last);
    });
  }

 private:
  Message head() const {
    Message out;
    out.number(1, static_cast<uint64_t>(kIrVersion));
    out.text(2, "terse");
    for (const auto& [domain, version] : model_.opsets) {
      Message opset;
      opset.text(1, domain);
      opset.number(2, static_cast<uint64_t>(version));
      out.message(8, opset);
    }
    for (const auto& [key, value] : model_.metadata) out.message(14, pair_message(key, value));
    return out;
  }

  // Everything of an initializer but its data, which follow where they are not external.
  Message item_head(const OnnxItem& item, int64_t& offset) const {
    Message tensor = item_message(item);
    if (!goes_outside(item, external_)) {
      tensor.announce(9, static_cast<uint64_t>(item.size()));
      return tensor;
    }
    offset = aligned(offset);
    const std::string file = path_.substr(path_.rfind('/') + 1) + ".data";
    tensor.message(13, pair_message("location", file));
    tensor.message(13, pair_message("offset", fmt::format("{}", offset)));
    tensor.message(13, pair_message("length", fmt::format("{}", item.size())));
    tensor.number(14, uint64_t{1});
    offset += item.size();
    return tensor;
  }

  void write_graph(Output& out, std::vector<uint64_t>& sums) const {
    Message nodes, ports;
    for (const OnnxNode& node : model_.nodes) nodes.message(1, node_message(node));
    nodes.text(2, "llama");
    for (const OnnxPort& port : model_.inputs) ports.message(11, port_message(port));
    for (const OnnxPort& port : model_.outputs) ports.message(12, port_message(port));
    std::vector<Message> heads;  // field, length and content up to the data
    uint64_t size = nodes.size() + ports.size();
    int64_t offset = 0;
    for (const OnnxItem& item : model_.initializers) {
      const Message content = item_head(item, offset);
      const bool outside = goes_outside(item, external_);
      const uint64_t data = outside ? 0 : static_cast<uint64_t>(item.size());
      Message head;
      head.announce(5, content.size() + data);
      size += head.size() + content.size() + data;
      heads.push_back(head);
      heads.push_back(content);
    }
    Message begin;
    begin.announce(7, size);
    out.append(begin);
    out.append(nodes);
    for (size_t i = 0; i < model_.initializers.size(); ++i) {
      out.append(heads[2 * i]);
      out.append(heads[2 * i + 1]);
      const OnnxItem& item = model_.initializers[i];
      if (!goes_outside(item, external_))
        sums[i] = send(path_, item, [&](auto piece) { out.append(piece); });
    }
    out.append(ports);
  }

  const std::string& path_;
  const OnnxModel& model_;
  bool external_;
};

}  // namespace

int64_t onnx_type_size(OnnxType type) {
  switch (type) {
    case OnnxType::u8:
    case OnnxType::i8:
      return 1;
    case OnnxType::f16:
    case OnnxType::bf16:
      return 2;
    case OnnxType::f32:
    case OnnxType::i32:
      return 4;
    case OnnxType::i64:
      return 8;
  }
  return 0;
}

int64_t OnnxItem::size() const {
  int64_t all = onnx_type_size(type);
  for (const int64_t d : shape) all *= d;
  return all;
}

void write_onnx(FileSystem& fs, const std::string& path, const OnnxModel& model,
                int64_t inline_limit) {
  int64_t total = 0;
  for (const OnnxItem& item : model.initializers) total += item.size();
  const bool external = total > inline_limit;
  std::vector<uint64_t> sums(model.initializers.size());
  if (external) write_data(fs, path + ".data", model, sums);
  ModelWriter(path, model, external).write(fs, std::move(sums));
}

}  // namespace terse
