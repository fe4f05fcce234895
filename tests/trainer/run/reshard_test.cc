// One run on changing numbers of ranks and nodes, with a ledger over the whole of it.
#include <gtest/gtest.h>

#include "tests/support/processes.h"
#include "tests/support/temporary_directory.h"

namespace terse {
namespace {

struct Layout {
  int ranks = 1, per_node = 1;
};

testing::Outcome run(const std::string& kind, const TemporaryDirectory& folder, Layout layout,
                     int steps = 20) {
  return testing::run_ranks({.ranks = layout.ranks,
                             .command = {TERSE_RANKS_PROGRAM, kind, folder.path(),
                                         std::to_string(steps), std::to_string(layout.per_node)},
                             .environment = {}});
}

// What went in = what came out + what the residuals hold, summed over all compressed steps,
// whatever the numbers of ranks and nodes (comm.md 6.3). reshard_ranks.cc keeps the ledger in the
// checkpoint and checks it at every stop. Top-k gathers on one and two ranks or nodes, and has
// owners beyond.
TEST(ReshardSlow, NothingIsLostOnOtherRanksAndNodes) {
  for (const std::string kind : {"onebit", "topk", "dgc"}) {
    const TemporaryDirectory folder;
    for (const Layout layout : {Layout{2}, {4}, {4}, {4, 2}, {4, 2}, {2}, {1}, {4, 2}, {4}, {2}}) {
      const testing::Outcome outcome = run(kind, folder, layout);
      ASSERT_TRUE(outcome.ok()) << kind << " on " << layout.ranks << " ranks, " << layout.per_node
                                << " a node\n"
                                << outcome.text();
    }
  }
}

// On the same nodes a rank takes back its node's own, not the mean of all nodes.
TEST(Reshard, TheSameNodesGoOnBitwise) {
  const auto weights = [](const testing::Outcome& outcome) {
    EXPECT_TRUE(outcome.ok()) << outcome.text();
    const std::string& text = outcome.exits[0].output;
    return text.substr(text.find("weights "), 24);
  };
  const TemporaryDirectory whole, parts;
  const std::string expected = weights(run("topk", whole, {4, 2}, 20));
  EXPECT_TRUE(run("topk", parts, {4, 2}, 12).ok());
  EXPECT_EQ(weights(run("topk", parts, {4, 2}, 8)), expected);
}

}  // namespace
}  // namespace terse
