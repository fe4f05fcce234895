#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "base/checksum.h"
#include "base/error.h"
#include "base/look_up.h"
#include "export/safetensors.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/manifest.h"

namespace terse {

struct Checkpoint::Impl {
  std::string folder;
  int64_t rank;
  Manifest manifest;
  std::vector<SafetensorsFile> files;  // shared, then one a rank

  // Null for a rank that the saving run did not have.
  const SafetensorsFile* file(Scope scope, int64_t of_rank) const {
    if (scope == Scope::shared) return &files.front();
    const int64_t r = of_rank >= 0 ? of_rank : rank;
    return r < manifest.ranks ? &files[static_cast<size_t>(1 + r)] : nullptr;
  }
  const std::string* own_value(const std::string& prefix, std::string_view name) const {
    const SafetensorsFile* own = file(Scope::own, -1);
    if (own == nullptr) return nullptr;
    auto it = own->metadata().find(prefix + std::string(name));
    return it == own->metadata().end() ? nullptr : &it->second;
  }
};

namespace {

void verify_file(const std::string& folder, const ManifestFile& entry) {
  const std::string path = folder + "/" + entry.name;
  const MappedFile file(path);
  const auto size = static_cast<int64_t>(file.bytes().size());
  if (size != entry.size)
    fail(ExitCode::invalid_file, "{}: {} bytes, the manifest says {}", path, size, entry.size);
  if (checksum(file) != entry.checksum)
    fail(ExitCode::invalid_file, "{}: its content does not match the manifest's checksum", path);
}

}  // namespace

Checkpoint::Checkpoint(const std::string& folder, int64_t rank) : impl_(new Impl) {
  impl_->folder = folder;
  impl_->rank = rank;
  const std::string path = folder + "/" + layout::kManifestFile;
  impl_->manifest = Manifest::parse(read_text(path, int64_t{1} << 28), path);
  const Manifest& m = impl_->manifest;
  if (m.ranks < 1 || static_cast<int64_t>(m.files.size()) != m.ranks + 1)
    fail(ExitCode::invalid_file, "{}: {} files for {} ranks", path, m.files.size(), m.ranks);
  for (const ManifestFile& entry : m.files) {
    verify_file(folder, entry);
    impl_->files.emplace_back(folder + "/" + entry.name);
  }
}
Checkpoint::~Checkpoint() = default;
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;

int64_t Checkpoint::step() const {
  return impl_->manifest.step;
}
const std::string& Checkpoint::folder() const {
  return impl_->folder;
}
int64_t Checkpoint::saved_ranks() const {
  return impl_->manifest.ranks;
}

std::vector<std::string> Checkpoint::tensor_names(Scope scope) const {
  const SafetensorsFile* file = impl_->file(scope, -1);
  std::vector<std::string> names = file == nullptr ? std::vector<std::string>() : file->names();
  std::sort(names.begin(), names.end());
  return names;
}

std::optional<TensorView> Checkpoint::tensor(Scope scope, std::string_view name,
                                             int64_t rank) const {
  const SafetensorsFile* file = impl_->file(scope, rank);
  return file == nullptr ? std::nullopt : file->find(name);
}
std::optional<int64_t> Checkpoint::integer(Scope scope, std::string_view name) const {
  if (scope == Scope::shared) return look_up(impl_->manifest.integers, name);
  const std::string* text = impl_->own_value(layout::kInteger, name);
  if (text == nullptr) return std::nullopt;
  int64_t value = 0;
  std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}
std::optional<double> Checkpoint::number(Scope scope, std::string_view name) const {
  if (scope == Scope::shared) return look_up(impl_->manifest.numbers, name);
  const std::string* text = impl_->own_value(layout::kNumber, name);
  return text == nullptr ? std::nullopt : std::optional(std::strtod(text->c_str(), nullptr));
}
std::optional<std::string> Checkpoint::text(Scope scope, std::string_view name) const {
  if (scope == Scope::shared) return look_up(impl_->manifest.texts, name);
  const std::string* text = impl_->own_value(layout::kText, name);
  return text == nullptr ? std::nullopt : std::optional(*text);
}

void Checkpoint::release(std::span<const std::byte> bytes) const {
  for (const SafetensorsFile& file : impl_->files) file.release(bytes);
}

CheckpointSearch newest_checkpoint(const std::string& run, int64_t rank) {
  CheckpointSearch search;
  const std::string folder = layout::checkpoints(run);
  for (const int64_t step : layout::steps(folder)) {
    const std::string name = layout::step_name(step);
    try {
      search.found = std::make_unique<Checkpoint>(fmt::format("{}/{}", folder, name), rank);
      return search;
    } catch (const Error& error) {
      search.rejected.push_back(fmt::format("{}: {}", name, error.what()));
    }
  }
  return search;
}

}  // namespace terse
