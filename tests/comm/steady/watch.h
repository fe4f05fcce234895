// Counts what the program allocates while it is watched: operator new and the allocator of CPU
// tensors, both replaced by watch.cc.
#pragma once
#include <string>

namespace terse::testing {

// Before the first tensor is made.
void replace_allocators();

void forget_allocations();
void watch(bool on);

// Views of tensors, pending collectives and what c10d keeps of them, each below 4,096 bytes.
double small_objects();
// Fails if there were buffers: what is allocated comes with each of at least seven steps;
// containers of c10d and Gloo, which grow by doubling, come once.
void expect_no_buffers(const std::string& what);

}  // namespace terse::testing
