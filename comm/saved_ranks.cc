#include "comm/saved_ranks.h"

namespace terse {

bool shared_alike(const StateReader& state, int64_t ranks, int64_t ranks_per_node) {
  return state.saved_ranks() == ranks &&
         state.integer(Scope::shared, kRanksPerNode).value_or(1) == ranks_per_node;
}

NodeState::NodeState(const StateReader& state, int64_t ranks, int64_t rank, int64_t ranks_per_node)
    : state_(state),
      ranks_per_node_(ranks_per_node),
      local_(rank % ranks_per_node),
      alike_(shared_alike(state, ranks, ranks_per_node)) {}

int64_t NodeState::saved_ranks() const {
  return alike_ ? state_.saved_ranks() / ranks_per_node_ : state_.saved_ranks();
}

std::optional<TensorView> NodeState::tensor(Scope scope, std::string_view name,
                                            int64_t rank) const {
  const bool node = alike_ && scope == Scope::own && rank >= 0;
  return state_.tensor(scope, name, node ? rank * ranks_per_node_ + local_ : rank);
}

std::optional<int64_t> NodeState::integer(Scope scope, std::string_view name) const {
  if (scope == Scope::shared && name == kRanksPerNode) return alike_ ? 1 : 0;
  return state_.integer(scope, name);
}

}  // namespace terse
