// The parts of the multi-process test program comm_group_ranks.
#pragma once
#include <stdexcept>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "launch/world.h"

namespace terse {

using StorePtr = c10::intrusive_ptr<c10d::Store>;

inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("conformance: " + what);
}

void misbehave(const World& world, const StorePtr& store, const std::string& how,
               const std::string& backend);
void silent(const World& world, const StorePtr& store);
void wait_for_late_rank(const World& world, const StorePtr& store, const std::string& backend);

}  // namespace terse
