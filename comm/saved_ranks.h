// How the ranks that wrote a checkpoint shared what exchanges keep, and whether today's share it
// alike.
//
// Without nodes every rank keeps a residual of whole buckets; under hierarchy of its slice, for its
// node (comm/hierarchical_exchange.h), and the shared value "exchange/ranks_per_node" says so. Only
// who shares alike takes back its own, bit for bit; everybody else the means (comm/residual.h).
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/state.h"

namespace terse {

inline constexpr const char* kRanksPerNode = "exchange/ranks_per_node";

bool shared_alike(const StateReader& state, int64_t ranks, int64_t ranks_per_node = 1);

// The state as the exchange between nodes reads it, whose ranks are one of each node: if the run
// that saved had the same nodes, as saved by these alone and without nodes; else as it is, shared
// otherwise. Borrows `state`.
class NodeState final : public StateReader {
 public:
  // `ranks`: of the whole run; `rank`: this one.
  NodeState(const StateReader& state, int64_t ranks, int64_t rank, int64_t ranks_per_node);

  int64_t saved_ranks() const override;
  std::optional<TensorView> tensor(Scope scope, std::string_view name, int64_t rank) const override;
  std::optional<int64_t> integer(Scope scope, std::string_view name) const override;
  std::optional<double> number(Scope scope, std::string_view name) const override {
    return state_.number(scope, name);
  }
  std::optional<std::string> text(Scope scope, std::string_view name) const override {
    return state_.text(scope, name);
  }

 private:
  const StateReader& state_;
  int64_t ranks_per_node_, local_;
  bool alike_;
};

}  // namespace terse
