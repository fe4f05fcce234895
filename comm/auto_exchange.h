// AutoExchange: [exchange] codec = "auto". A SelectExchange that chooses for each bucket what makes
// the step shortest, dense included.
//
//   steps 3 to 6        quiet: nothing is exchanged while backward runs, so that computing and the
//                       buckets' ready times are measured alone
//   commit of step 6    the chooser measures the link and the codecs, predicts a step for every
//                       candidate and for mixtures of them (comm/plan/auto_choice.h)
//   every `every` steps, and if the exposed time has moved by a fifth of a step from what it was
//                       after the decision: again; for the latter not before 50 steps, nor before a
//                       hundred times as long as a look takes
//
// A change must promise `gain` of the step, so that noise changes nothing. Rank 0 decides; its vote
// announces the decision and a broadcast carries it (comm/decider.h). Saved: the choice and when to
// look next, so that a resumed run goes on with what was decided and looks when it would have
// looked.
//
// With `replay` nothing is measured: the given decisions hold from the given steps on.
//
// Under hierarchy it is the exchange between nodes (comm/hierarchical_exchange.h): the peers of
// every place on a node are a group of their own, all of which decide together and alike, or the
// rounds inside nodes would not meet.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "comm/plan/auto_choice.h"
#include "comm/select_exchange.h"

namespace terse {

// Collective over the ranks that decide; the answer of their rank 0 counts. `times`: medians of
// quiet steps of this rank. `current` is what is in use.
using AutoChooser = std::function<AutoChoice(const BucketPlan& plan, const StepTimes& times,
                                             std::span<const int64_t> current)>;

struct AutoOptions {
  int64_t first = 6;  // step of the first look
  int64_t every = 500;
  bool replay = false;
  // (first step it holds for, SelectExchange::selection_text()), ascending. On rank 0.
  std::vector<std::pair<int64_t, std::string>> replayed{};
};

class AutoExchange final : public SelectExchange, public Decider {
 public:
  // choices[0] is what a run begins with: a dense one. `deciding`: all ranks of the run, of which
  // `group` are those that average with this one.
  AutoExchange(Group group, Group deciding, std::vector<SelectCandidate> choices,
               AutoChooser chooser, AutoOptions options);

  Decider* decider() override { return this; }
  bool quiet(int64_t step) const override;
  bool due(int64_t step) const override;
  void observe(const StepTimes& times) override;
  void decide(int64_t first_step) override;
  bool compresses() const override { return any_lossy(); }
  using SelectExchange::observe;  // of messages

  std::vector<ExchangeDecision> take_decisions() override;
  void save(StateWriter& state) const override;
  void load(const StateReader& state) override;

 private:
  const std::string* replayed(int64_t first_step) const;
  std::string chosen(int64_t first_step);
  void watch(const StepTimes& times);

  Group deciding_;
  AutoChooser chooser_;
  AutoOptions options_;
  int64_t next_look_;
  int64_t looked_ = 0;            // the last decision's step
  std::vector<StepTimes> quiet_;  // since then
  std::vector<double> exposed_;   // of other steps since then
  double look_seconds_ = 0;       // of the last one
  double since_ = 0;              // seconds of steps since then
  std::vector<ExchangeDecision> decisions_;
};

}  // namespace terse
