// The low-rank exchange between real ranks, call by call against the paper's formula in fp64: under
// ranks that change between steps, on matrices of odd shapes, and under every error control.
#include <algorithm>
#include <cmath>

#include "base/state.h"
#include "comm/low_rank.h"
#include "comm/low_rank_exchange.h"
#include "tests/comm/exchange/ledger.h"
#include "tests/comm/exchange/simulated_control.h"

namespace terse::testing {
namespace {

const double kExact = 1e-5;  // a few roundings of 2^-24 of sums of up to 300 products

std::unique_ptr<LowRankExchange> low_rank(Group& group, const BucketPlan& plan, int64_t rank,
                                          const FeedbackOptions& feedback = {}) {
  auto exchange =
      std::make_unique<LowRankExchange>(group, PowerSgdOptions{.rank = rank, .feedback = feedback});
  exchange->attach(plan);
  return exchange;
}

// Vogels et al., algorithm 1, of the mean of the ranks' matrices and a Q given transposed: P and Q
// are linear in the matrices, so that their means are those of the mean.
at::Tensor projected(const at::Tensor& mean, const at::Tensor& qt) {
  const at::Tensor p = std::get<0>(at::linalg_qr(mean.matmul(qt.to(at::kDouble).t())));
  return p.matmul(p.t().matmul(mean));
}

void expect_close(const at::Tensor& ours, const at::Tensor& wanted, const std::string& what) {
  if (wanted.numel() == 0) return;
  // Messages are up to 1.25: scalars that cancel between ranks keep the rounding of such numbers.
  const double norm = std::max(wanted.norm().item<double>(), 1.0);
  const double error = (ours.to(at::kDouble) - wanted).norm().item<double>();
  expect(error <= kExact * norm, fmt::format("{}: {} of {} off", what, error, norm));
}

// One average, each segment of which is the paper's from the Q and the residuals before it.
at::Tensor checked_average(Group& group, LowRankExchange& exchange, const Bucket& bucket,
                           const at::Tensor& in, const std::string& what) {
  const at::Tensor mean = mean_over_ranks(group, in + exchange.worker_residual(bucket.index));
  std::vector<at::Tensor> wanted;
  for (const Segment& s : bucket.segments) {
    const at::Tensor part = mean.narrow(0, s.offset, s.size);
    const at::Tensor q = exchange.factor(bucket.index, s.name);
    wanted.push_back(q.defined() ? projected(part.view({s.rows, s.columns}), q).flatten() : part);
  }
  const int64_t before = group.wire_bytes().total();
  const at::Tensor answer = average(exchange, bucket.index, in);
  expect(group.wire_bytes().total() - before ==
             (group.size() == 1 ? 0 : exchange.wire_bytes(bucket.index)),
         what + ": bytes are not those announced");
  expect_replicas(group, answer, what);
  for (size_t i = 0; i < wanted.size(); ++i) {
    const Segment& s = bucket.segments[i];
    expect_close(answer.narrow(0, s.offset, s.size), wanted[i], what + ", " + s.name);
  }
  return answer;
}

// Sums over calls of what went in and what came out, by bucket.
struct Books {
  explicit Books(const BucketPlan& plan) {
    for (const Bucket& b : plan.buckets) {
      given.push_back(at::zeros({b.size}, at::kDouble));
      sent.push_back(at::zeros({b.size}, at::kDouble));
    }
  }
  std::vector<at::Tensor> given, sent;
};

void checked_step(Group& group, LowRankExchange& exchange, const BucketPlan& plan, int call,
                  Books& books, const std::string& what) {
  for (const Bucket& bucket : plan.buckets) {
    const auto b = static_cast<size_t>(bucket.index);
    const at::Tensor in = message(bucket.size, group.rank(), call);
    books.sent[b] += checked_average(group, exchange, bucket, in, what).to(at::kDouble);
    books.given[b] += mean_over_ranks(group, in);
  }
  exchange.commit();
}

// Nothing is lost: answers + mean residual = mean messages.
void expect_balanced(Group& group, const LowRankExchange& exchange, const BucketPlan& plan,
                     const Books& books, const std::string& what) {
  for (const Bucket& bucket : plan.buckets) {
    const auto b = static_cast<size_t>(bucket.index);
    const at::Tensor kept = mean_over_ranks(group, exchange.worker_residual(bucket.index));
    expect_close(books.sent[b] + kept, books.given[b], what + ": ledger");
  }
}

// The factors of all segments, undefined where one travels whole.
std::vector<at::Tensor> factors(const LowRankExchange& exchange, const BucketPlan& plan) {
  std::vector<at::Tensor> all;
  for (const Bucket& bucket : plan.buckets)
    for (const Segment& s : bucket.segments) {
      const at::Tensor q = exchange.factor(bucket.index, s.name);
      all.push_back(q.defined() ? q.clone() : q);
    }
  return all;
}

// Orthonormal, the same bytes on every rank, and of the rank that was asked for.
void expect_factor(Group& group, const at::Tensor& q, double rank, const std::string& what) {
  expect(q.defined() == (rank > 0), what + ": factors where whole was asked for, or the reverse");
  if (!q.defined()) return;
  expect(q.size(0) == std::llround(rank), what + ": rank");
  expect_replicas(group, q, what);
  const at::Tensor wide = q.to(at::kDouble);
  const at::Tensor off = wide.matmul(wide.t()) - at::eye(q.size(0), at::kDouble);
  // Rows of unit length in fp32: products of two are off by a few 2^-24.
  expect(off.abs().max().item<double>() < 2e-6, what + ": not orthonormal");
}

// Rows that both have. They were orthonormal, so making them so again only rounds: 2^-24 a pass.
void expect_kept(const at::Tensor& before, const at::Tensor& after, const std::string& what) {
  if (!before.defined() || !after.defined()) return;
  const int64_t kept = std::min(before.size(0), after.size(0));
  const at::Tensor moved = (before.narrow(0, 0, kept) - after.narrow(0, 0, kept)).abs().max();
  expect(moved.item<float>() < 1e-6, fmt::format("{}: moved by {}", what, moved.item<float>()));
}

// Ranks by segment of matrices(), as L-GreCo hands them out; 0: whole. Those of the vector and of 3
// x 5 mean nothing. Each matrix goes up, down, whole and back.
const std::vector<std::vector<std::vector<double>>> kSchedule = {
    {{4, 4}, {4, 4, 4}},   {{9, 1}, {2, 1, 8}},  {{2, 1}, {16, 1, 8}}, {{0, 1}, {16, 1, 3}},
    {{14, 1}, {1, 1, 12}}, {{14, 0}, {0, 0, 5}}, {{4, 4}, {4, 4, 4}}};

void check_change(Group& group, LowRankExchange& exchange, const BucketPlan& plan,
                  const std::vector<std::vector<double>>& ranks, const std::string& what) {
  const auto before = factors(exchange, plan);
  std::vector<at::Tensor> residuals;
  for (const Bucket& bucket : plan.buckets)
    residuals.push_back(exchange.worker_residual(bucket.index).clone());
  for (const Bucket& bucket : plan.buckets)
    exchange.set_parameters(bucket.index, ranks[static_cast<size_t>(bucket.index)]);
  const auto after = factors(exchange, plan);
  size_t next = 0;
  for (const Bucket& bucket : plan.buckets) {
    const auto b = static_cast<size_t>(bucket.index);
    expect(at::equal(residuals[b], exchange.worker_residual(bucket.index)), what + ": residual");
    for (size_t s = 0; s < bucket.segments.size(); ++s, ++next) {
      const Segment& segment = bucket.segments[s];
      const std::string label = what + ", Q of " + segment.name;
      expect_factor(group, after[next], segment.size < 256 ? 0 : ranks[b][s], label);
      expect_kept(before[next], after[next], label);
    }
  }
}

void check_rank_changes(Group& group) {
  at::manual_seed(1000 + static_cast<uint64_t>(group.rank()));  // no rank's own luck may matter
  const BucketPlan plan = matrices();
  const auto exchange = low_rank(group, plan, 4);
  Books books(plan);
  int call = 0;
  for (size_t phase = 0; phase < kSchedule.size(); ++phase) {
    const std::string what = fmt::format("low rank, phase {}", phase);
    check_change(group, *exchange, plan, kSchedule[phase], what);
    for (int i = 0; i < 3; ++i) {
      checked_step(group, *exchange, plan, call++, books, what);
      for (const at::Tensor& q : factors(*exchange, plan))
        if (q.defined()) expect_replicas(group, q, what + ", learned Q");
    }
    expect_balanced(group, *exchange, plan, books, what);
    for (size_t s = 0; s < 2; ++s) {
      const Segment& segment = plan.buckets[0].segments[s];
      if (exchange->factor(0, segment.name).defined()) continue;
      const at::Tensor left = exchange->worker_residual(0).narrow(0, segment.offset, segment.size);
      expect(left.abs().max().item<float>() == 0, what + ": what went whole left something");
    }
  }
}

// A checkpoint of another rank: what both have is bitwise, the ledger goes on.
void check_load_at_other_ranks(Group& group) {
  const BucketPlan plan = matrices();
  const auto saved = low_rank(group, plan, 9);
  Books until(plan);
  for (int call = 0; call < 3; ++call) checked_step(group, *saved, plan, call, until, "to save");
  MemoryState state(group.size());
  saved->save(state);
  for (const int64_t rank : {4, 9, 12}) {
    const std::string what = fmt::format("rank 9 loaded at {}", rank);
    const auto exchange = low_rank(group, plan, rank);
    exchange->load(state);
    const auto before = factors(*saved, plan), after = factors(*exchange, plan);
    for (size_t i = 0; i < after.size(); ++i) {
      if (!after[i].defined()) continue;
      expect_replicas(group, after[i], what);
      const int64_t kept = std::min(rank, before[i].size(0));
      expect(at::equal(before[i].narrow(0, 0, kept), after[i].narrow(0, 0, kept)), what);
    }
    Books books(plan);
    for (size_t b = 0; b < plan.buckets.size(); ++b) {
      books.given[b].copy_(until.given[b]);
      books.sent[b].copy_(until.sent[b]);
    }
    for (int call = 3; call < 6; ++call) checked_step(group, *exchange, plan, call, books, what);
    expect_balanced(group, *exchange, plan, books, what);
  }
}

// Shapes as parameters have them: what is beyond the first dimension is columns.
BucketPlan odd_shapes() {
  using Shapes = std::vector<std::pair<std::string, std::pair<int64_t, int64_t>>>;
  const Shapes first = {{"row", {1, 300}},
                        {"column", {300, 1}},
                        {"tiny", {2, 3}},
                        {"scalar", {1, 1}},
                        {"no_rows", {0, 0}},
                        {"conv_32_16_3_3", {32, 16 * 3 * 3}},
                        {"no_columns", {5, 0}},
                        {"flat", {5, 200}},
                        {"depthwise_64_1_3_3", {64, 9}},
                        {"conv_48_8_5", {48, 8 * 5}},
                        {"empty_vector", {1, 0}},
                        {"square", {40, 40}},
                        {"upright", {200, 17}}};
  BucketPlan plan;
  const auto add = [&](const Shapes& shapes) {
    Bucket bucket{static_cast<int64_t>(plan.buckets.size()), 0, {}};
    for (const auto& [name, shape] : shapes) {
      const auto [rows, columns] = shape;
      bucket.segments.push_back({fmt::format("{}.{}", bucket.index, name), bucket.size,
                                 rows * columns, rows, columns, true});
      bucket.size += rows * columns;
    }
    plan.buckets.push_back(std::move(bucket));
  };
  using Shapes = std::vector<std::pair<std::string, std::pair<int64_t, int64_t>>>;
  add(first);
  add(Shapes{{"bias", {1, 70}}, {"gain", {1, 1}}});  // nothing to factor
  add(Shapes{{"nothing", {1, 0}}});
  add(Shapes{{"last", {33, 96}}});
  return plan;
}

// Two factors must save half (comm/low_rank.h), which a rank of either side's length never does.
int64_t rank_by_rule(const Segment& s, int64_t wanted) {
  const int64_t rank = std::min({wanted, s.rows, s.columns});
  return s.rows > 1 && s.columns > 1 && 2 * rank * (s.rows + s.columns) <= s.size ? rank : 0;
}

void check_odd_shapes(Group& group) {
  const BucketPlan plan = odd_shapes();
  for (const int64_t rank : {1, 3, 4, 8, 1000}) {
    const std::string what = fmt::format("odd shapes at rank {}", rank);
    const auto exchange = low_rank(group, plan, rank);
    for (const Bucket& bucket : plan.buckets)
      for (const Segment& s : bucket.segments)
        expect_factor(group, exchange->factor(bucket.index, s.name),
                      static_cast<double>(rank_by_rule(s, rank)), what + ", " + s.name);
    Books books(plan);
    for (int call = 0; call < 4; ++call) checked_step(group, *exchange, plan, call, books, what);
    expect_balanced(group, *exchange, plan, books, what);
    MemoryState state(group.size());
    exchange->save(state);
    const auto again = low_rank(group, plan, rank);
    again->load(state);
    for (const Bucket& bucket : plan.buckets) {
      const at::Tensor in = message(bucket.size, group.rank(), 4);
      const at::Tensor answer = average(*exchange, bucket.index, in);
      expect(at::equal(answer, average(*again, bucket.index, in)), what + ": resumed differs");
    }
  }
}

// Matrices that have fewer directions than factors: what is missing is drawn, never NaN, and the
// answer is the whole matrix.
void check_poor_matrices(Group& group) {
  BucketPlan plan;
  constexpr int64_t kRows = 40, kColumns = 60, kSize = kRows * kColumns;
  plan.buckets.push_back({0, kSize, {{"w", 0, kSize, kRows, kColumns, true}}});
  const at::Tensor u = host_message(kRows, 0, 1), v = host_message(kColumns, 0, 2);
  const at::Tensor one = at::outer(u, v).flatten();
  at::Tensor row = at::zeros({kRows, kColumns}, at::kFloat);
  row[7].copy_(v);
  for (const at::Tensor& in : {at::zeros({kSize}, at::kFloat), one, row.flatten()}) {
    const auto exchange = low_rank(group, plan, 4);
    for (int call = 0; call < 3; ++call) {
      const at::Tensor answer = average(*exchange, 0, in);
      exchange->commit();
      expect_close(answer, in.to(at::kDouble), "a matrix of rank 0 or 1");
      expect_factor(group, exchange->factor(0, "w"), 4, "Q of a matrix of rank 0 or 1");
    }
  }
}

// All ranks in fp64 on every rank, from the same first Q: 20 calls of each policy.
void check_policies(Group& group) {
  constexpr int64_t kRows = 24, kColumns = 40, kSize = kRows * kColumns, kRank = 3;
  BucketPlan plan;
  plan.buckets.push_back({0, kSize, {{"w", 0, kSize, kRows, kColumns, true}}});
  for (const FeedbackOptions& feedback : control_options()) {
    const auto exchange = low_rank(group, plan, kRank, feedback);
    at::Tensor q = exchange->factor(0, "w").to(at::kDouble);
    // What every rank takes off its x is the shared product: PowerSGD's error is x - answer.
    const auto compress = [&](const std::vector<at::Tensor>& x) {
      const at::Tensor mean = at::stack(x).mean(0).view({kRows, kColumns});
      const at::Tensor p = std::get<0>(at::linalg_qr(mean.matmul(q.t())));
      q = p.t().matmul(mean);
      return std::vector<at::Tensor>(x.size(), p.matmul(q).flatten());
    };
    SimulatedControl simulated(feedback, group.size(), kSize, compress);
    for (int call = 0; call < 20; ++call) {
      std::vector<at::Tensor> in;
      for (int64_t rank = 0; rank < group.size(); ++rank)
        in.push_back(host_message(kSize, rank, call));
      const at::Tensor answer = average(*exchange, 0, in[static_cast<size_t>(group.rank())]);
      exchange->commit();
      const double error = relative_error(answer, simulated.step(in));
      // Warm start and feedback let roundings grow: numpy's fp32 is up to 6.2e-5 from fp64 after 20
      // calls, at eta = 1 up to 2.6e-3 (36 runs each). A wrong term costs tenths.
      const double late = feedback.eta == 1.0 ? 2e-2 : 5e-4;
      expect(error < (call < 4 ? 1e-5 : late),
             fmt::format("low rank, {}: call {} is {} off", control_label(feedback), call, error));
    }
  }
}

}  // namespace

void check_low_rank(Group& group) {
  check_rank_changes(group);
  check_load_at_other_ranks(group);
  check_odd_shapes(group);
  check_poor_matrices(group);
  check_policies(group);
}

}  // namespace terse::testing
