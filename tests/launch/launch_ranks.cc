// What rendezvous_test.cc starts: launch_ranks join [SECONDS] | doctor | absent
#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "launch/doctor.h"
#include "launch/rendezvous.h"

namespace {

void join_and_print(int seconds) {
  terse::World world = terse::resolve_world(terse::current_environment());
  const auto store = terse::join(world, std::chrono::seconds(seconds));
  store->set(fmt::format("hello/{}", world.rank), "here");
  for (int r = 0; r < world.size; ++r) store->get_to_str(fmt::format("hello/{}", r));
  std::printf("rank %d of %d, local %d of %d, node %d of %d, address %s\n", world.rank, world.size,
              world.local_rank, world.local_size, world.node, world.nodes,
              terse::own_address(world).c_str());
  // The store lives in rank 0, which must not leave before the others have read.
  store->add("done", 1);
  while (world.rank == 0 && store->add("done", 0) < world.size) {
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "join";
  try {
    if (what == "doctor") {
      std::fputs(terse::render_json(terse::examine(terse::current_environment())).c_str(), stdout);
    } else {
      const char* rank = std::getenv("RANK");
      const bool stays_away = what == "absent" && rank != nullptr && std::string(rank) == "1";
      if (!stays_away) join_and_print(argc > 2 ? std::stoi(argv[2]) : 30);
    }
  } catch (const terse::Error& e) {
    std::printf("Error %d: %s\n", static_cast<int>(e.code()), e.what());
    return static_cast<int>(e.code());
  }
  return 0;
}
