// The parts of the multi-process test program optim_ranks.
#pragma once
#include <stdexcept>
#include <string>

#include "comm/group.h"

namespace terse {

inline void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("training: " + what);
}

void dgc_runs(const Group& group);
void zero_one_runs(const Group& group);
void unused_on_one_rank(const Group& group);

// Programs of their own, by name of the case.
void disturbed_replicas(const Group& group, const std::string& name);
void canaries(const Group& group, const std::string& problem, const std::string& optimizer);

}  // namespace terse
