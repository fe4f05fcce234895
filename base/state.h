// State dictionaries: how components hand their state to a checkpoint and take it back.
//
// Saving borrows: a view stays valid until the checkpoint is written (the caller holds the
// component still). Loading borrows from a memory-mapped file and copies into the component. Names
// use '/' as separator: "optim/m/model.layers.0.mlp.down_proj.weight". Tensors are keyed by
// parameter name and, where every rank has its own (residuals), by rank:
// "exchange/residual/rank3/NAME".
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor_view.h"

namespace terse {

// Where a checkpoint keeps what every rank holds alike (written by rank 0 only) and what is each
// rank's own (written by that rank).
enum class Scope { shared, own };

class StateWriter {
 public:
  virtual ~StateWriter() = default;
  virtual void tensor(Scope scope, std::string name, TensorView view) = 0;
  // Small values: numbers and texts, kept in the manifest. Numbers survive bit for bit.
  virtual void value(Scope scope, std::string name, int64_t v) = 0;
  virtual void value(Scope scope, std::string name, double v) = 0;
  virtual void value(Scope scope, std::string name, std::string v) = 0;
  // For state that must be built for the occasion (sliced, packed, converted): keeps `owned` alive
  // until the checkpoint is written.
  virtual void keep(std::shared_ptr<void> owned) = 0;
};

class StateReader {
 public:
  virtual ~StateReader() = default;
  // The rank and size of the run that wrote this, and of the one that reads it.
  virtual int64_t saved_ranks() const = 0;
  // `Scope::own` reads the same rank's state; `rank` >= 0 reads another rank's (re-sharding).
  virtual std::optional<TensorView> tensor(Scope scope, std::string_view name,
                                           int64_t rank = -1) const = 0;
  virtual std::optional<int64_t> integer(Scope scope, std::string_view name) const = 0;
  virtual std::optional<double> number(Scope scope, std::string_view name) const = 0;
  virtual std::optional<std::string> text(Scope scope, std::string_view name) const = 0;
  // The caller is done with these bytes of a tensor for now: those of a mapped file need not count
  // as memory any longer (MappedFile::release).
  virtual void release(std::span<const std::byte>) const {}

  // As above, but a missing name, another type or another shape is an Error(invalid_file) that
  // names it.
  TensorView require(Scope scope, std::string_view name, DType dtype,
                     const std::vector<int64_t>& shape, int64_t rank = -1) const;
  int64_t require_integer(Scope scope, std::string_view name) const;
  double require_number(Scope scope, std::string_view name) const;
  std::string require_text(Scope scope, std::string_view name) const;
};

// Both in memory: for tests, and to compare states.
class MemoryState final : public StateWriter, public StateReader {
 public:
  explicit MemoryState(int64_t ranks = 1) : ranks_(ranks) {}
  void tensor(Scope scope, std::string name, TensorView view) override;
  void value(Scope scope, std::string name, int64_t v) override;
  void value(Scope scope, std::string name, double v) override;
  void value(Scope scope, std::string name, std::string v) override;
  void keep(std::shared_ptr<void>) override {}  // bytes were copied

  int64_t saved_ranks() const override { return ranks_; }
  std::optional<TensorView> tensor(Scope scope, std::string_view name, int64_t rank) const override;
  std::optional<int64_t> integer(Scope scope, std::string_view name) const override;
  std::optional<double> number(Scope scope, std::string_view name) const override;
  std::optional<std::string> text(Scope scope, std::string_view name) const override;
  std::vector<std::string> names() const;  // of tensors

 private:
  struct Tensor {
    DType dtype;
    std::vector<int64_t> shape;
    std::vector<std::byte> bytes;
  };
  int64_t ranks_;
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, int64_t, std::less<>> integers_;
  std::map<std::string, double, std::less<>> numbers_;
  std::map<std::string, std::string, std::less<>> texts_;
};

}  // namespace terse
