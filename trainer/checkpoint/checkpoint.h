// Checkpoints: everything a run needs to go on, in a folder that either verifies or is ignored.
//
//   RUN/checkpoints/step-00000120/
//     shared.safetensors      what all ranks hold alike: weights, optimizer, codes; by rank 0
//     rank-00000.safetensors  what rank 0 alone holds: residuals; one file a rank
//     manifest.json           step, ranks, values, each file's size and checksum; its own last
//
// A folder is written under a temporary name, every file synced, the manifest last, then renamed: a
// kill at any moment leaves either no folder of that step or a whole one. "Newest" means the newest
// that verifies, never the highest number. Paper trail for the idiom: leveldb's CURRENT file.
//
// All ranks see one run directory (one machine, or a shared file system). Free of torch; the
// agreement between ranks comes in as a function. docs/formats.md has the grammar.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/file_system.h"
#include "base/state.h"

namespace terse {

// One rank's part of a save, as exchanged between ranks: what the manifest says of its file.
struct CheckpointPart {
  int64_t size = 0;
  uint64_t checksum = 0;
  bool written = false;  // false: this rank could not write its file
};

// Gathers every rank's part, in rank order, on every rank (an all-gather).
using GatherParts = std::function<std::vector<CheckpointPart>(const CheckpointPart&)>;

// Saves one step: collects borrowed state, then writes it.
//
//   CheckpointWriter writer(fs, run, step, rank, gather);
//   reducer.save(writer); ...
//   writer.commit(keep);
class CheckpointWriter final : public StateWriter {
 public:
  CheckpointWriter(FileSystem& fs, const std::string& run, int64_t step, int64_t rank,
                   GatherParts gather);
  ~CheckpointWriter() override;

  void tensor(Scope scope, std::string name, TensorView view) override;
  void value(Scope scope, std::string name, int64_t v) override;
  void value(Scope scope, std::string name, double v) override;
  void value(Scope scope, std::string name, std::string v) override;
  void keep(std::shared_ptr<void> owned) override;

  // Collective. Writes, agrees, renames, then deletes all but the newest `keep_newest` (0 keeps
  // all). If any rank fails, no rank's checkpoint of this step exists, and every rank throws
  // Error(invalid_file); earlier checkpoints are untouched. Returns bytes written by this rank.
  int64_t commit(int64_t keep_newest);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// One verified checkpoint, memory-mapped.
class Checkpoint final : public StateReader {
 public:
  // Opens the folder and verifies manifest, sizes and checksums of all files (1.5 GB/s or more with
  // a warm cache). `rank`: whose own state Scope::own means. Error(invalid_file) says what is wrong
  // and where.
  Checkpoint(const std::string& folder, int64_t rank);
  ~Checkpoint() override;
  Checkpoint(Checkpoint&&) noexcept;

  int64_t step() const;
  const std::string& folder() const;
  std::vector<std::string> tensor_names(Scope scope) const;  // sorted

  int64_t saved_ranks() const override;
  std::optional<TensorView> tensor(Scope scope, std::string_view name,
                                   int64_t rank = -1) const override;
  std::optional<int64_t> integer(Scope scope, std::string_view name) const override;
  std::optional<double> number(Scope scope, std::string_view name) const override;
  std::optional<std::string> text(Scope scope, std::string_view name) const override;
  void release(std::span<const std::byte> bytes) const override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct CheckpointSearch {
  std::unique_ptr<Checkpoint> found;  // null: there is none
  std::vector<std::string> rejected;  // "step-00000120: <why>", newest first
};

// The newest checkpoint of the run that verifies, and why newer ones did not.
CheckpointSearch newest_checkpoint(const std::string& run, int64_t rank);

// Removes what a killed save left behind. Rank 0 calls it before training starts.
void remove_unfinished_checkpoints(FileSystem& fs, const std::string& run);

}  // namespace terse
