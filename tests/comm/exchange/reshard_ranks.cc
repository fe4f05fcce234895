// A run that goes on with other ranks, or other nodes: what future averages owe stays the same, and
// on the same ones a rank takes back its own.
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "comm/make_exchange.h"
#include "comm/select_exchange.h"
#include "tests/comm/exchange/ledger.h"

namespace terse::testing {
namespace {

using nlohmann::json;

// All that a rank saves, to be sent to others.
class Recorder final : public StateWriter {
 public:
  void tensor(Scope, std::string name, TensorView view) override {
    const auto* bytes = reinterpret_cast<const uint8_t*>(view.data.data());
    all_["tensors"][name] = {
        {"dtype", static_cast<int>(view.dtype)},
        {"shape", view.shape},
        {"data", json::binary(std::vector<uint8_t>(bytes, bytes + view.data.size()))}};
  }
  void value(Scope, std::string name, int64_t v) override { all_["integers"][name] = v; }
  void value(Scope, std::string name, double v) override { all_["numbers"][name] = v; }
  void value(Scope, std::string name, std::string v) override { all_["texts"][name] = v; }
  void keep(std::shared_ptr<void>) override {}
  std::vector<uint8_t> bytes() const { return json::to_cbor(all_); }

 private:
  json all_ = json::object();
};

// What the first `ranks` ranks saved, as rank `self` of a new run reads it: as a checkpoint, and
// not as MemoryState, which every rank has to itself.
class Saved final : public StateReader {
 public:
  Saved(Group& group, const Recorder& own, int64_t ranks) : self_(group.rank()) {
    const std::vector<uint8_t> mine = own.bytes();
    for (const auto& part : group.all_gather_bytes(std::as_bytes(std::span(mine)))) {
      if (saved_ranks() == ranks) break;
      const auto* bytes = reinterpret_cast<const uint8_t*>(part.data());
      states_.push_back(json::from_cbor(bytes, bytes + part.size()));
    }
  }
  int64_t saved_ranks() const override { return static_cast<int64_t>(states_.size()); }
  std::optional<TensorView> tensor(Scope scope, std::string_view name,
                                   int64_t rank) const override {
    const int64_t whose = scope == Scope::shared ? 0 : rank < 0 ? self_ : rank;
    if (whose >= saved_ranks()) return {};
    const json* t = find(whose, "tensors", name);
    if (t == nullptr) return {};
    const auto& data = t->at("data").get_binary();
    return TensorView{static_cast<DType>(t->at("dtype").get<int>()),
                      t->at("shape").get<std::vector<int64_t>>(),
                      std::as_bytes(std::span(data.data(), data.size()))};
  }
  std::optional<int64_t> integer(Scope, std::string_view name) const override {
    return value<int64_t>("integers", name);
  }
  std::optional<double> number(Scope, std::string_view name) const override {
    return value<double>("numbers", name);
  }
  std::optional<std::string> text(Scope, std::string_view name) const override {
    return value<std::string>("texts", name);
  }

 private:
  const json* find(int64_t rank, const char* kind, std::string_view name) const {
    const json& state = states_.at(static_cast<size_t>(rank));
    if (!state.contains(kind) || !state.at(kind).contains(std::string(name))) return nullptr;
    return &state.at(kind).at(std::string(name));
  }
  template <typename T>
  std::optional<T> value(const char* kind, std::string_view name) const {
    const json* found = find(0, kind, name);
    return found == nullptr ? std::nullopt : std::optional(found->get<T>());
  }

  int64_t self_;
  std::vector<json> states_;
};

struct Layout {
  int64_t ranks = 1, per_node = 1;
};

using MakeOn = std::function<std::unique_ptr<Exchange>(Group, int64_t per_node)>;

// Steps [first, last) of every bucket: sums of answers and of mean messages, and a hash of all
// answers.
struct Sums {
  explicit Sums(const BucketPlan& plan) {
    for (const Bucket& bucket : plan.buckets) {
      sent.push_back(at::zeros({bucket.size}, at::kDouble));
      given.push_back(at::zeros({bucket.size}, at::kDouble));
    }
  }
  void steps(Group& group, Exchange& exchange, int first, int last, const std::string& what) {
    for (int call = first; call < last; ++call) {
      for (size_t b = 0; b < sent.size(); ++b) {
        const at::Tensor in = message(sent[b].numel(), group.rank(), call);
        const at::Tensor answer = average(exchange, static_cast<int64_t>(b), in);
        expect_replicas(group, answer, what);
        sent[b] += answer.to(at::kDouble);
        given[b] += mean_over_ranks(group, in);
        hash = hash * 31 + bytes_hash(answer);
      }
      exchange.commit();
    }
  }
  std::vector<at::Tensor> sent, given;
  uint64_t hash = 0;
};

void expect_near(const at::Tensor& a, const at::Tensor& b, const std::string& what) {
  // Sums of some roundings of 2^-24.
  const double error = ((a - b).norm() / (a.norm() + b.norm())).item<double>();
  expect(error < 1e-6, fmt::format("{}: off by {}", what, error));
}

// Runs on the first ranks, saves, and goes on on others. groups[n]: the first n, where this rank
// is.
class Move {
 public:
  Move(std::map<int64_t, Group>& groups, Layout from, Layout to)
      : groups_(groups), all_(groups.at(4)), from_(from), to_(to) {}

  // `ledger`: answers are what was sent (the classic policy).
  void check(const MakeOn& make, bool ledger, const std::string& exchange) {
    what_ = fmt::format("{} from {} ranks, {} a node, to {}, {}", exchange, from_.ranks,
                        from_.per_node, to_.ranks, to_.per_node);
    on(from_, [&](Group& group) { begin(group, make); });
    const Saved saved(all_, recorder_, from_.ranks);
    on(to_, [&](Group& group) { go_on(group, make, saved, ledger); });
  }

 private:
  void begin(Group& group, const MakeOn& make) {
    auto exchange = make(group, from_.per_node);
    exchange->attach(plan_);
    Sums(plan_).steps(group, *exchange, 0, 5, what_);
    exchange->save(recorder_);
    owed_ = owed(group, *exchange, plan_);
    Sums more(plan_);
    more.steps(group, *exchange, 5, 8, what_);
    hash_ = more.hash;
  }

  void go_on(Group& group, const MakeOn& make, const Saved& saved, bool ledger) {
    auto exchange = make(group, to_.per_node);
    exchange->attach(plan_);
    exchange->load(saved);
    const auto now = owed(group, *exchange, plan_);
    Sums more(plan_);
    more.steps(group, *exchange, 5, 8, what_);
    const auto after = owed(group, *exchange, plan_);
    const bool same = from_.ranks == to_.ranks && from_.per_node == to_.per_node;
    expect(!same || more.hash == hash_, what_ + ": another run");
    for (size_t b = 0; b < now.size(); ++b) {
      if (!owed_.empty()) expect_near(owed_[b], now[b], what_ + ": as loaded");
      if (ledger)
        expect_near(more.sent[b] + after[b], more.given[b] + now[b], what_ + ": as it goes on");
    }
  }

  void on(Layout layout, const std::function<void(Group&)>& run) {
    if (all_.rank() < layout.ranks) run(groups_.at(layout.ranks));
  }

  std::map<int64_t, Group>& groups_;
  Group& all_;
  Layout from_, to_;
  BucketPlan plan_ = matrices();
  std::string what_;
  Recorder recorder_;
  std::vector<at::Tensor> owed_;  // on ranks that were there before
  uint64_t hash_ = 0;
};

MakeOn maker(ExchangeOptions options) {
  return [options](Group group, int64_t per_node) mutable {
    options.hierarchy = per_node > 1;
    return make_exchange(std::move(group), options, at::kCPU, per_node);
  };
}

// By top-k, as auto has it, until one bucket goes dense at the step that is saved: what it had kept
// waits for the next average.
class Mixed final : public SelectExchange {
 public:
  explicit Mixed(const Group& group)
      : SelectExchange(group, {choice_of(group, "fp32"), choice_of(group, "topk")}) {}
  void attach(const BucketPlan& plan) override {
    SelectExchange::attach(plan);
    select(std::vector<int64_t>{1, 1});
  }
  void commit() override {
    SelectExchange::commit();
    if (++commits_ == 5) select(std::vector<int64_t>{0, 1});
  }

 private:
  static SelectCandidate choice_of(const Group& group, const std::string& codec) {
    return {.name = codec, .lossy = codec == "topk", .drops = codec == "topk", .make = [=] {
              return make_exchange(group, {.codec = codec, .density = 0.05});
            }};
  }
  int commits_ = 0;
};

std::vector<ExchangeOptions> options_that_keep() {
  std::vector<ExchangeOptions> all = {{.codec = "onebit", .block = 64},
                                      {.codec = "bits", .bits = 2},
                                      {.codec = "topk", .density = 0.05},  // gathers on 2 alone
                                      {.codec = "topk", .density = 0.05, .sparse = "gather"},
                                      {.codec = "lowrank", .rank = 2}};
  for (const std::string feedback : {"ef21", "econtrol"})
    all.push_back({.codec = "topk", .density = 0.2, .feedback = feedback});
  return all;
}

}  // namespace

void check_resharding(Group& group) {
  std::map<int64_t, Group> groups{{4, group}};
  for (int ranks = 1; ranks < 4; ++ranks) {
    std::vector<int> members(static_cast<size_t>(ranks));
    std::iota(members.begin(), members.end(), 0);
    if (group.rank() < ranks)
      groups.emplace(ranks, group.sub_group(members, fmt::format("first{}", ranks)));
  }
  const std::vector<std::pair<Layout, Layout>> flat = {
      {{2}, {4}}, {{4}, {2}}, {{3}, {1}}, {{4}, {4}}};
  const std::vector<std::pair<Layout, Layout>> nodes = {
      {{4, 2}, {4, 2}}, {{4, 2}, {4}}, {{4}, {4, 2}}, {{2}, {4, 2}}};
  for (const auto& moves : {flat, nodes})
    for (const auto& [from, to] : moves)
      for (const ExchangeOptions& options : options_that_keep())
        Move(groups, from, to)
            .check(maker(options), options.feedback == "classic",
                   options.codec + " " + options.sparse + " " + options.feedback);
  for (const auto& [from, to] : flat)
    Move(groups, from, to)
        .check([](const Group& ranks, int64_t) { return std::make_unique<Mixed>(ranks); }, true,
               "mixed");
}

}  // namespace terse::testing
