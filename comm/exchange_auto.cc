// The exchange of codec = "auto": its candidates, and how they are measured.
#include <ATen/Parallel.h>

#include "base/error.h"
#include "comm/auto_exchange.h"
#include "comm/make_exchange.h"
#include "comm/plan/exchange_costs.h"
#include "comm/plan/exchange_probe.h"
#include "comm/plan/link_probe.h"
#include "comm/plan/step_model.h"

namespace terse {
namespace {

std::vector<ExchangeOptions> candidates_of(const ExchangeOptions& options) {
  std::vector<ExchangeOptions> all;
  if (options.compressed()) all.push_back(options.with_codec(options.dense));
  for (const std::string& name : options.candidates)
    if (!options.compressed() || !is_dense(name)) all.push_back(options.with_codec(name));
  return all;
}

// Measures link and codecs on all ranks, and lets rank 0's numbers choose. Between nodes all peers
// measure at once, as they send at once.
AutoChoice measure_and_choose(Group& group, const Group& deciding,
                              const std::vector<ExchangeOptions>& candidates,
                              const BucketPlan& plan, const StepTimes& times,
                              std::span<const int64_t> current) {
  const Link link = measure_link(group);
  std::vector<AutoCandidate> measured;
  for (const ExchangeOptions& options : candidates)
    measured.push_back({.name = options.codec,
                        .dense = !options.compressed(),
                        .costs = exchange_costs(
                            options, plan, group.size(),
                            slowest(deciding, measure_exchange(options, plan, group.size())))});
  return choose_exchange(step_model(times, at::get_num_threads(), deciding.size()), measured, link,
                         current);
}

}  // namespace

std::unique_ptr<Exchange> make_auto_exchange(Group group, const Group& run,
                                             const ExchangeOptions& options, at::Device device) {
  if (!device.is_cpu())
    fail(ExitCode::usage,
         "[exchange] codec = \"auto\" measures on the CPU only; name a codec, or use [train] "
         "device = "
         "\"cpu\"");
  if (options.candidates.empty())
    fail(ExitCode::usage,
         "[exchange] codec = \"auto\" chooses while a training run is measured; name one of fp32, "
         "bf16, onebit, bits, topk and lowrank here");
  std::vector<SelectCandidate> choices;
  const std::vector<ExchangeOptions> candidates = candidates_of(options);
  for (const ExchangeOptions& each : candidates)
    choices.push_back({.name = each.codec,
                       .lossy = each.compressed(),
                       .drops = each.codec == "topk",
                       .make = [group, each, device, whole = group.size() == run.size()] {
                         return whole ? make_exchange(group, each, device)
                                      : make_exchange_between(group, each, device);
                       }});
  return std::make_unique<AutoExchange>(
      group, run, std::move(choices),
      [group, run, candidates](const BucketPlan& plan, const StepTimes& times,
                               std::span<const int64_t> current) mutable {
        return measure_and_choose(group, run, candidates, plan, times, current);
      },
      AutoOptions{
          .every = options.every, .replay = !options.replay.empty(), .replayed = options.replayed});
}

}  // namespace terse
