// The cost model between real processes: its bytes are those that exchanges say and count, and what
// is measured is the same on every rank.
//
//   comm_plan_ranks costs | probes
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "comm/connect.h"
#include "comm/make_exchange.h"
#include "comm/plan/exchange_costs.h"
#include "comm/plan/exchange_probe.h"
#include "comm/plan/link_probe.h"

namespace terse {
namespace {

void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error(what);
}

// Two matrices and a vector, then a small bucket whose last chunks are empty on four ranks.
BucketPlan plan() {
  return plan_buckets({{"a", 300, 200}, {"v", 1, 300}, {"b", 64, 999}, {"w", 1, 100}},
                      int64_t{4} * (300 * 200 + 300 + 64 * 999));
}

at::Tensor random(int64_t n, int64_t rank) {
  return at::randn({n}, at::detail::createCPUGenerator(static_cast<uint64_t>(rank + 1)));
}

int64_t counted(Group& group, Exchange& exchange, const Bucket& bucket) {
  const at::Tensor message = random(bucket.size, group.rank());
  const int64_t before = group.wire_bytes().total();
  exchange.start(bucket.index, message);
  for (int r = 1; r < exchange.rounds(); ++r) exchange.advance(bucket.index, r);
  exchange.finish(bucket.index, at::empty_like(message));
  return group.wire_bytes().total() - before;
}

// Rank 0's bytes: exact for codecs of fixed size. Top-k's depend on where its entries lie.
void check_costs(Group& group) {
  ExchangeOptions recipe;
  recipe.density = 0.01;
  for (const ExchangeChoice& choice : exchange_choices(recipe)) {
    const auto exchange = make_exchange(group, choice.options);
    exchange->attach(plan());
    for (const Bucket& bucket : plan().buckets) {
      const auto transfers = exchange_transfers(choice.options, bucket, group.size());
      int64_t bytes = 0;
      for (const Transfer& t : transfers) bytes += t.bytes;
      expect(static_cast<int>(transfers.size()) == exchange->rounds(), choice.name + ": rounds");
      const int64_t sent = counted(group, *exchange, bucket);
      if (group.rank() != 0) continue;
      const bool exact = choice.options.codec != "topk";
      // A few hundred entries whose gaps scatter, and messages padded to 8 bytes.
      const double slack = exact ? 0 : 0.05 * static_cast<double>(sent) + 8.0 * group.size();
      expect(std::abs(static_cast<double>(bytes - sent)) <= slack,
             fmt::format("{}, bucket {}: {} bytes predicted, {} sent", choice.name, bucket.index,
                         bytes, sent));
    }
  }
}

void expect_agreed(Group& group, std::vector<double> values, const std::string& what) {
  const auto all = group.all_gather_bytes(std::as_bytes(std::span(values)));
  for (const auto& theirs : all) expect(theirs == all[0], what + ": ranks differ");
}

void check_probes(Group& group) {
  const Link link = measure_link(group, {.seconds = 0.005, .most_bytes = 1 << 20});
  expect_agreed(group,
                {link.latency, link.per_message, link.bytes_per_second, link.core_seconds_per_byte},
                "link");
  expect(link.bytes_per_second > 1e5 && link.latency >= 0, "a link that carries nothing");
  for (const ExchangeChoice& choice : exchange_choices({})) {
    const ExchangeSpeed speed =
        slowest(group, measure_exchange(choice.options, plan(), group.size(), {.repetitions = 1}));
    std::vector<double> values;
    for (const Work& w : speed.items) values.insert(values.end(), {w.alone, w.team});
    expect_agreed(group, values, choice.name);
    expect(values.front() > 0 && values.back() > 0, choice.name + ": takes no time");
    // Fits the formulas, in which a step can be predicted.
    exchange_costs(choice.options, plan(), group.size(), speed);
  }
}

int run(const std::string& what) {
  ConnectOptions options;
  options.backend = "gloo";
  Connection connection = connect(options);
  if (what == "costs") check_costs(connection.group);
  if (what == "probes") check_probes(connection.group);
  return 0;
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) {
  try {
    return terse::run(argc > 1 ? argv[1] : "");
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
