// One run of 1-bit Adam on changing numbers of ranks, with a ledger over the whole of it.
#include <gtest/gtest.h>

#include "tests/support/processes.h"
#include "tests/support/temporary_directory.h"

namespace terse {
namespace {

// Momenta that went in = momenta that came out + what the residuals hold, summed over all
// compressed steps, whatever the numbers of ranks (comm.md 6.3). reshard_ranks.cc keeps the ledger
// in the checkpoint and checks it at every stop.
TEST(Reshard, NothingIsLostWhenTheNumberOfRanksChanges) {
  const TemporaryDirectory folder;
  for (const int ranks : {2, 4, 4, 1, 2}) {
    const testing::Outcome outcome = testing::run_ranks(
        {.ranks = ranks, .command = {TERSE_RANKS_PROGRAM, folder.path(), "20"}, .environment = {}});
    ASSERT_TRUE(outcome.ok()) << ranks << " ranks\n" << outcome.text();
  }
}

}  // namespace
}  // namespace terse
