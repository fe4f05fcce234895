// L-GreCo between real ranks, by bytes and by time.
#include <map>
#include <set>

#include "comm/make_exchange.h"
#include "tests/comm/exchange/ledger.h"

namespace terse::testing {
namespace {

// Decides at the same steps for all ranks, loses nothing when it changes parameters, and a run that
// resumes while gradients are summed (call 10), tables are made (17), the problem is solved (19) or
// later (20) decides alike. By time this holds from the measurement on (15).
void check_family(Group& group, const std::string& family, const std::string& cost,
                  int64_t ranks_per_node) {
  const ExchangeOptions options{.codec = "lgreco",
                                .density = 0.05,
                                .rank = 2,
                                .family = family,
                                .every = 15,
                                .cost = cost,
                                .hierarchy = ranks_per_node > 1};
  const std::set<int> saves = cost == "time" ? std::set{17, 19, 20} : std::set{10, 17, 19, 20};
  const BucketPlan plan = matrices();
  constexpr int kCalls = 24;
  std::map<int, MemoryState> saved;
  const auto run = [&](int first, bool save) {
    auto exchange = make_exchange(group, options, at::kCPU, ranks_per_node);
    exchange->attach(plan);
    if (first > 0) exchange->load(saved.at(first));
    std::vector<at::Tensor> sent, given;
    for (const Bucket& b : plan.buckets)
      sent.push_back(at::zeros({b.size}, at::kDouble)), given.push_back(sent.back().clone());
    uint64_t hash = 0;
    std::string decided;
    for (int call = first; call < kCalls; ++call) {
      if (save && saves.contains(call))
        exchange->save(saved.emplace(call, MemoryState(group.size())).first->second);
      for (const Bucket& b : plan.buckets) {
        const at::Tensor in = message(b.size, group.rank(), call);
        const at::Tensor answer = average(*exchange, b.index, in);
        expect_replicas(group, answer, "L-GreCo " + family);
        sent[static_cast<size_t>(b.index)] += answer.to(at::kDouble);
        given[static_cast<size_t>(b.index)] += mean_over_ranks(group, in);
        hash = bytes_hash(answer);
      }
      exchange->commit();
      for (const ExchangeDecision& d : exchange->take_decisions()) decided += d.value + d.reason;
    }
    if (first == 0) {
      const auto kept = owed(group, *exchange, plan);
      for (size_t b = 0; b < kept.size(); ++b) {
        const double error =
            ((sent[b] + kept[b] - given[b]).norm() / given[b].norm()).item<double>();
        expect(error < 1e-5, fmt::format("L-GreCo {}: ledger is off by {}", family, error));
      }
    }
    return std::pair(hash, decided);
  };
  const auto [hash, decided] = run(0, true);
  expect(!decided.empty(), "L-GreCo " + family + " decided nothing");
  for (const auto& [call, state] : saved) {
    const auto [again, decided_again] = run(call, false);
    expect(again == hash, fmt::format("L-GreCo {}: resumed at {} differs", family, call));
    expect(call > 19 || decided_again == decided,
           fmt::format("L-GreCo {}: resumed at {} decides otherwise", family, call));
  }
}

}  // namespace

void check_lgreco(Group& group) {
  for (const std::string family : {"lowrank", "topk", "bits"}) {
    for (const std::string cost : {"bytes", "time"}) {
      check_family(group, family, cost, 1);
      if (group.size() == 4) check_family(group, family, cost, 2);
    }
  }
}

}  // namespace terse::testing
