// Run by exchange_test.cc on 1 to 4 ranks:
//   comm_exchange_ranks all | compressed | lgreco | lowrank | switching | resharding BACKEND |
//   deepspeed | powersgd BACKEND GOLDEN | hash BACKEND
// nccl: on GPUs.
#include <cstdio>

#include "comm/group_gpu.h"
#include "launch/rendezvous.h"
#include "tests/comm/exchange/ranks.h"

namespace terse::testing {
namespace {

void run(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  World world = resolve_world(current_environment());
  const auto store = join(world, std::chrono::seconds(60));
  GroupOptions options{.backend = parse_backend(argc > 2 ? argv[2] : "auto")};
  options.cuda = options.backend == BackendKind::nccl;
  if (options.cuda) exchange_device = gpu_of(world);
  Group group = make_group(world, store, options);
  if (what == "all") {
    check_dense(group);
    check_two_stage(group);
    check_state(group);
  } else if (what == "compressed") {
    check_compressed(group);
  } else if (what == "switching") {
    check_switching(group);
  } else if (what == "lgreco") {
    check_lgreco(group);
  } else if (what == "lowrank") {
    check_low_rank(group);
  } else if (what == "resharding") {
    check_resharding(group);
  } else if (what == "deepspeed") {
    check_deepspeed(group, argc > 3 ? argv[3] : "");
  } else if (what == "powersgd") {
    check_powersgd(group, argc > 3 ? argv[3] : "");
  } else if (what == "hash") {
    print_transport_hash(group);
  } else {
    throw std::runtime_error("which check?");
  }
  group.barrier("end");
  std::printf("rank %d: fine\n", group.rank());
}

}  // namespace
}  // namespace terse::testing

int main(int argc, char** argv) {
  try {
    terse::testing::run(argc, argv);
    return 0;
  } catch (const std::exception& error) {
    std::printf("failed: %s\n", error.what());
    return 1;
  }
}
