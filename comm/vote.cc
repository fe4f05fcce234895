#include "comm/vote.h"

#include <cmath>
#include <string>

#include "base/error.h"

namespace terse {
namespace {

template <typename T>
void require_equal(std::span<const Ballot> ballots, T Ballot::*field, const char* what,
                   const char* advice) {
  std::string others;
  for (size_t rank = 1; rank < ballots.size(); ++rank)
    if (ballots[rank].*field != ballots[0].*field)
      others +=
          fmt::format("{}rank {} has {}", others.empty() ? "" : ", ", rank, ballots[rank].*field);
  if (others.empty()) return;
  fail(ExitCode::disagree, "ranks disagree on the {} at step {}: rank 0 has {}, {}; {}", what,
       ballots[0].step, ballots[0].*field, others, advice);
}

}  // namespace

Tally tally(std::span<const Ballot> ballots) {
  const char* restart = "resume all ranks from the same checkpoint";
  require_equal(ballots, &Ballot::step, "step", restart);
  require_equal(ballots, &Ballot::plan_hash, "bucket plan",
                "start all ranks with the same recipe and the same program");
  require_equal(ballots, &Ballot::phase, "phase", restart);
  require_equal(ballots, &Ballot::residual_epoch, "residual epoch", restart);
  require_equal(ballots, &Ballot::message_scale, "clip coefficient", restart);
  Tally result;
  double squares = 0;
  for (size_t rank = 0; rank < ballots.size(); ++rank) {
    const Ballot& b = ballots[rank];
    if (result.bad_rank < 0 && !(std::isfinite(b.squares) && std::isfinite(b.loss)))
      result.bad_rank = static_cast<int64_t>(rank);
    squares += b.squares;
    result.loss += b.loss;
    result.stop = result.stop || b.stop != 0;
    result.missing += b.missing;
  }
  const auto ranks = static_cast<double>(ballots.size());
  result.loss /= ranks;
  result.norm = std::sqrt(squares / ranks);
  result.next = {static_cast<Phase>(ballots[0].next_phase), ballots[0].next_residual_epoch,
                 ballots[0].next_density};
  result.decide = ballots[0].decide != 0;
  return result;
}

Tally vote(Group& group, const Ballot& own) {
  const std::vector<Ballot> ballots = group.all_gather_value(own, "vote");
  return tally(ballots);
}

}  // namespace terse
