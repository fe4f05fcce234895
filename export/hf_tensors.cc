#include "export/hf_tensors.h"

#include <nlohmann/json.hpp>

#include "base/checksum.h"
#include "base/error.h"

namespace terse {
namespace {

using nlohmann::json;

constexpr const char* kOne = "/model.safetensors";
constexpr const char* kIndex = "/model.safetensors.index.json";
constexpr const char* kList = "/terse.json";
constexpr int64_t kMostIndex = 1 << 26;
constexpr int64_t kMostList = 1 << 16;

// {"metadata": anything, "weight_map": {tensor: file}} as events: no tree, whose size a hostile
// file could choose.
class IndexEvents final : public json::json_sax_t {
 public:
  explicit IndexEvents(const std::string& path) : path_(path) {}
  std::map<std::string, std::string> files;

  bool null() override { return other(); }
  bool boolean(bool) override { return other(); }
  bool number_integer(int64_t) override { return other(); }
  bool number_unsigned(uint64_t) override { return other(); }
  bool number_float(double, const std::string&) override { return other(); }
  bool binary(json::binary_t&) override { return other(); }
  bool string(std::string& value) override {
    if (!in_map_ || depth_ != 2) return other();
    if (value.find('/') != std::string::npos || !value.ends_with(".safetensors"))
      fail(ExitCode::invalid_file, "{}: \"{}\" cannot be a file of this folder", path_, value);
    if (!files.emplace(key_, value).second)
      fail(ExitCode::invalid_file, "{}: tensor \"{}\" appears twice", path_, key_);
    return true;
  }
  bool start_object(size_t) override {
    ++depth_;
    return true;
  }
  bool key(std::string& value) override {
    if (depth_ == 1) in_map_ = value == "weight_map";
    key_ = value;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(size_t) override {
    ++depth_;
    return other();
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const json::exception&) override {
    fail(ExitCode::invalid_file, "{}: not valid JSON at byte {}", path_, position);
  }

 private:
  bool other() {
    if (in_map_) fail(ExitCode::invalid_file, "{}: \"weight_map\" maps names to files", path_);
    return true;
  }
  const std::string& path_;
  std::string key_;
  int depth_ = 0;
  bool in_map_ = false;
};

std::map<std::string, std::string> read_index(const std::string& path) {
  const std::string text = read_text(path, kMostIndex);
  IndexEvents events(path);
  json::sax_parse(text, &events);
  if (events.files.empty()) fail(ExitCode::invalid_file, "{}: names no tensor", path);
  return std::move(events.files);
}

}  // namespace

HfTensors::HfTensors(std::vector<SafetensorsFile> files, std::string label)
    : files_(std::move(files)), label_(std::move(label)) {
  TERSE_CHECK(!files_.empty(), "{}", label_);
  for (size_t i = 0; i < files_.size(); ++i)
    for (const std::string& name : files_[i].names())
      if (!places_.emplace(name, i).second)
        fail(ExitCode::invalid_file, "{}: tensor \"{}\" is in two files", label_, name);
}

HfTensors HfTensors::open(const std::string& folder) {
  std::vector<SafetensorsFile> files;
  std::map<std::string, std::string> index;
  if (FileSystem::real().exists(folder + kOne)) {
    files.emplace_back(folder + kOne);
  } else {
    index = read_index(folder + kIndex);
    std::map<std::string, size_t> opened;
    for (const auto& [tensor, name] : index)
      if (opened.emplace(name, files.size()).second)
        files.emplace_back(fmt::format("{}/{}", folder, name));
  }
  HfTensors all(std::move(files), folder);
  all.folder_ = folder;
  if (index.empty()) return all;
  for (const auto& [tensor, name] : index) {
    const SafetensorsFile* file = all.file_of(tensor);
    if (file == nullptr || file->path() != fmt::format("{}/{}", folder, name))
      fail(ExitCode::invalid_file, "{}: tensor \"{}\" is not in {}", folder, tensor, name);
  }
  if (index.size() != all.places_.size())
    fail(ExitCode::invalid_file, "{}: {} tensors in the shards, {} in the index", folder,
         all.places_.size(), index.size());
  return all;
}

std::vector<std::string> HfTensors::names() const {
  std::vector<std::string> names;
  for (const SafetensorsFile& file : files_)
    names.insert(names.end(), file.names().begin(), file.names().end());
  return names;
}

const SafetensorsFile* HfTensors::file_of(std::string_view name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? nullptr : &files_[found->second];
}

std::optional<TensorView> HfTensors::find(std::string_view name) const {
  const SafetensorsFile* file = file_of(name);
  return file == nullptr ? std::nullopt : file->find(name);
}

TensorView HfTensors::require(std::string_view name) const {
  const SafetensorsFile* file = file_of(name);
  return (file == nullptr ? files_.front() : *file).require(name);
}

TensorView HfTensors::require(std::string_view name, DType dtype,
                              const std::vector<int64_t>& shape) const {
  const SafetensorsFile* file = file_of(name);
  return (file == nullptr ? files_.front() : *file).require(name, dtype, shape);
}

void HfTensors::release(std::span<const std::byte> bytes) const {
  for (const SafetensorsFile& file : files_) file.release(bytes);
}

bool HfTensors::has_checksums() const {
  for (const SafetensorsFile& file : files_)
    if (!file.has_checksums()) return false;
  return true;
}

void HfTensors::verify_checksums(bool required) const {
  for (const SafetensorsFile& file : files_) file.verify_checksums(required);
  if (folder_.empty() || !FileSystem::real().exists(folder_ + kList)) return;
  const json list = json::parse(read_text(folder_ + kList, kMostList), nullptr, false);
  const auto sums = list.is_object() ? list.find("xxh3") : list.end();
  if (!list.is_object() || sums == list.end() || !sums->is_object())
    fail(ExitCode::invalid_file, "{}{}: not a list of checksums", folder_, kList);
  for (const auto& [name, sum] : sums->items()) {
    if (name.find('/') != std::string::npos || !sum.is_string())
      fail(ExitCode::invalid_file, "{}{}: not a list of checksums", folder_, kList);
    const MappedFile file(fmt::format("{}/{}", folder_, name));
    if (checksum_hex(checksum(file)) != sum.get<std::string>())
      fail(ExitCode::invalid_file,
           "{}/{}: does not match its checksum in terse.json: it is corrupt, or was edited; in the "
           "latter case remove terse.json",
           folder_, name);
  }
}

bool is_hf_folder(const std::string& path) {
  return FileSystem::real().exists(path + kOne) || FileSystem::real().exists(path + kIndex);
}

}  // namespace terse
