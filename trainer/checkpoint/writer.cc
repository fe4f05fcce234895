#include <fmt/format.h>

#include <map>

#include "base/checksum.h"
#include "base/error.h"
#include "export/safetensors.h"
#include "trainer/checkpoint/checkpoint.h"
#include "trainer/checkpoint/layout.h"
#include "trainer/checkpoint/manifest.h"

namespace terse {

struct CheckpointWriter::Impl {
  FileSystem& fs;
  std::string checkpoints;
  int64_t step;
  int64_t rank;
  GatherParts gather;
  std::map<std::string, TensorView> shared, own;
  Manifest manifest;
  Metadata own_values;
  std::vector<std::shared_ptr<void>> kept;

  std::string temporary() const { return checkpoints + "/" + layout::temporary_name(step); }

  ManifestFile write(const std::string& name, const std::map<std::string, TensorView>& tensors,
                     const Metadata& metadata) {
    const std::string path = temporary() + "/" + name;
    write_safetensors(fs, path, tensors, metadata);
    const MappedFile file(path);  // read back: what the disk holds is what gets the checksum
    return {name, static_cast<int64_t>(file.bytes().size()), checksum(file)};
  }
  CheckpointPart write_own(std::string& reason);
  bool publish(const std::vector<CheckpointPart>& parts, std::string& reason);
  void discard() {
    if (rank != 0) return;
    try {
      fs.remove_all(temporary());
    } catch (const Error&) {  // the failure that led here is the one to report
    }
  }
};

namespace {

void require_all(const std::vector<CheckpointPart>& parts, int64_t rank, const std::string& folder,
                 const std::string& reason) {
  for (size_t r = 0; r < parts.size(); ++r) {
    if (parts[r].written) continue;
    fail(ExitCode::invalid_file, "{}: not saved: {}", folder,
         static_cast<int64_t>(r) == rank ? reason
                                         : fmt::format("rank {} could not write its part", r));
  }
}

}  // namespace

CheckpointWriter::CheckpointWriter(FileSystem& fs, const std::string& run, int64_t step,
                                   int64_t rank, GatherParts gather)
    : impl_(new Impl{
          fs, layout::checkpoints(run), step, rank, std::move(gather), {}, {}, {}, {}, {}}) {}
CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::tensor(Scope scope, std::string name, TensorView view) {
  auto& tensors = scope == Scope::shared ? impl_->shared : impl_->own;
  const bool fresh = tensors.emplace(name, std::move(view)).second;
  TERSE_CHECK(fresh, "two tensors of a checkpoint are named '{}'", name);
}
void CheckpointWriter::value(Scope scope, std::string name, int64_t v) {
  if (scope == Scope::shared)
    impl_->manifest.integers[std::move(name)] = v;
  else
    impl_->own_values[layout::kInteger + name] = fmt::format("{}", v);
}
void CheckpointWriter::value(Scope scope, std::string name, double v) {
  if (scope == Scope::shared)
    impl_->manifest.numbers[std::move(name)] = v;
  else
    impl_->own_values[layout::kNumber + name] = fmt::format("{:a}", v);
}
void CheckpointWriter::value(Scope scope, std::string name, std::string v) {
  if (scope == Scope::shared)
    impl_->manifest.texts[std::move(name)] = std::move(v);
  else
    impl_->own_values[layout::kText + name] = std::move(v);
}
void CheckpointWriter::keep(std::shared_ptr<void> owned) {
  impl_->kept.push_back(std::move(owned));
}

CheckpointPart CheckpointWriter::Impl::write_own(std::string& reason) {
  try {
    const ManifestFile file = write(layout::rank_file(rank), own, own_values);
    return {file.size, file.checksum, true};
  } catch (const Error& error) {
    reason = error.what();
    return {};
  }
}

// Rank 0: the shared file, the manifest, and the rename that makes it all visible.
bool CheckpointWriter::Impl::publish(const std::vector<CheckpointPart>& parts,
                                     std::string& reason) {
  try {
    manifest.step = step;
    manifest.ranks = static_cast<int64_t>(parts.size());
    manifest.files = {write(layout::kSharedFile, shared, {})};
    for (size_t r = 0; r < parts.size(); ++r)
      manifest.files.push_back(
          {layout::rank_file(static_cast<int64_t>(r)), parts[r].size, parts[r].checksum});
    write_atomically(fs, temporary() + "/" + layout::kManifestFile, manifest.text());
    const std::string final_name = checkpoints + "/" + layout::step_name(step);
    fs.remove_all(
        final_name);  // an earlier one of this step did not verify, or we would be past it
    fs.rename(temporary(), final_name);
    fs.sync_directory(checkpoints);
    return true;
  } catch (const Error& error) {
    reason = error.what();
    return false;
  }
}

int64_t CheckpointWriter::commit(int64_t keep_newest) {
  Impl& s = *impl_;
  const std::string folder = s.checkpoints + "/" + layout::step_name(s.step);
  std::string reason;
  // Rank 0 makes the folder, then all write: two agreements order the phases on all ranks.
  CheckpointPart part{0, 0, true};
  if (s.rank == 0) {
    try {
      s.fs.remove_all(s.temporary());
      s.fs.make_directories(s.temporary());
    } catch (const Error& error) {
      reason = error.what();
      part.written = false;
    }
  }
  require_all(s.gather(part), s.rank, folder, reason);

  const CheckpointPart own = s.write_own(reason);
  const auto parts = s.gather(own);
  try {
    require_all(parts, s.rank, folder, reason);
  } catch (...) {
    s.discard();
    throw;
  }

  part = {0, 0, true};
  if (s.rank == 0 && !s.publish(parts, reason)) {
    s.discard();
    part.written = false;
  }
  require_all(s.gather(part), s.rank, folder, reason);
  if (s.rank == 0) layout::remove_old(s.fs, s.checkpoints, s.step, keep_newest);
  return own.size + (s.rank == 0 ? s.manifest.files.front().size : 0);
}

}  // namespace terse
