#include "comm/select_exchange.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>
#include <sstream>

#include "base/error.h"
#include "comm/exchange_tensors.h"
#include "comm/residual.h"
#include "comm/saved_ranks.h"
#include "comm/sums.h"

namespace terse {
namespace {

constexpr const char* kSelection = "exchange/choice";

bool is_saved(const StateReader& state, const char* prefix, const Bucket& bucket) {
  return std::ranges::any_of(bucket.segments, [&](const Segment& s) {
    const std::string name = fmt::format("{}/{}", prefix, s.name);
    for (int64_t rank = 0; s.size > 0 && rank < state.saved_ranks(); ++rank)
      if (state.tensor(Scope::own, name, rank)) return true;
    return false;
  });
}

// Residuals of zero for the buckets of which `ranges` has some.
void save_zeros(StateWriter& state, const char* prefix, const BucketPlan& plan,
                std::vector<Range> ranges) {
  Residual zeros(prefix);
  zeros.attach(plan, std::move(ranges), at::kCPU);
  zeros.save(state);
}

}  // namespace

SelectExchange::SelectExchange(Group group, std::vector<SelectCandidate> choices)
    : group_(std::move(group)), choices_(std::move(choices)) {
  TERSE_CHECK(!choices_.empty(), "nothing to choose from");
}

SelectExchange::~SelectExchange() = default;

void SelectExchange::attach(const BucketPlan& plan) {
  plan_ = plan;
  slots_.assign(plan.buckets.size(), Slot{});
  inners_.clear();
}

// While an optimizer averages densely by other means, nothing here needs buffers.
const SelectExchange::Inners& SelectExchange::inners() const {
  if (inners_.empty()) inners_ = make_inners();
  return inners_;
}

// The plan with the buckets of other choices emptied.
BucketPlan SelectExchange::plan_of(int64_t choice) const {
  BucketPlan part = plan_;
  for (Bucket& bucket : part.buckets)
    if (slot(bucket.index).choice != choice) bucket = {bucket.index, 0, {}};
  return part;
}

SelectExchange::Inners SelectExchange::make_inners() const {
  Inners made(choices_.size());
  for (const Slot& slot : slots_) {
    const auto c = static_cast<size_t>(slot.choice);
    if (made[c]) continue;
    made[c] = choices_[c].make();
    made[c]->attach(plan_of(slot.choice));
    if (choices_[c].drops && density_ > 0) made[c]->set_density(density_);
    made[c]->observe(observer_);
  }
  for (const Bucket& bucket : plan_.buckets) {
    const Slot& s = slot(bucket.index);
    if (s.live.defined()) made[static_cast<size_t>(s.choice)]->set_live(bucket.index, s.live);
  }
  return made;
}

// The same way as through a checkpoint: what the old exchanges save, the new ones load. MemoryState
// keeps the last of one name.
void SelectExchange::select(std::span<const int64_t> choice) {
  TERSE_CHECK(choice.size() == slots_.size(), "{} choices", choice.size());
  const std::vector<int64_t> before = selection();
  if (std::ranges::equal(choice, before)) return;
  if (unused()) {
    for (size_t b = 0; b < slots_.size(); ++b) slots_[b].choice = choice[b];
    return;
  }
  inners();
  MemoryState moved(group_.size());
  save_nothing_kept(moved, choice);
  save_pending(moved);
  for (size_t b = 0; b < slots_.size(); ++b) slots_[b].choice = choice[b];
  const Inners old = std::exchange(inners_, make_inners());
  for (const Bucket& bucket : plan_.buckets)
    fold_owed(bucket, *old[static_cast<size_t>(before[static_cast<size_t>(bucket.index)])]);
  for (const auto& exchange : old) {
    if (!exchange) continue;
    exchange->save(moved);
    encodes_before_ += exchange->encodes();
  }
  save_no_owners(moved);
  load_inners(moved);
}

// What buckets have kept that were dense, or had no owners.
void SelectExchange::save_nothing_kept(StateWriter& state, std::span<const int64_t> choice) const {
  std::vector<Range> worker, server;
  for (const Bucket& bucket : plan_.buckets) {
    const auto b = static_cast<size_t>(bucket.index);
    const bool starts = !lossy(bucket.index) && choices_[static_cast<size_t>(choice[b])].lossy;
    worker.push_back(starts ? Range{0, bucket.size} : Range{});
    server.push_back(own_chunk(bucket));
  }
  save_zeros(state, kWorkerResidual, plan_, worker);
  save_zeros(state, kServerResidual, plan_, server);
}

// Who has no owners any more would take over what is saved of theirs, which fold_owed() has moved.
void SelectExchange::save_no_owners(StateWriter& state) const {
  std::vector<Range> folded;
  for (const Bucket& bucket : plan_.buckets) {
    const bool owners = inner(bucket.index).server_residual(bucket.index).defined();
    folded.push_back(lossy(bucket.index) && !owners ? Range{0, bucket.size} : Range{});
  }
  save_zeros(state, kServerResidual, plan_, folded);
}

Range SelectExchange::own_chunk(const Bucket& bucket) const {
  return chunk_of(bucket.size, group_.size(), group_.rank());
}

// The owner's residual becomes a part of its worker's if there is no owner's side any more.
void SelectExchange::fold_owed(const Bucket& bucket, const Exchange& from) const {
  const at::Tensor owed = from.server_residual(bucket.index);
  if (!owed.defined() || inner(bucket.index).server_residual(bucket.index).defined()) return;
  const Range chunk = own_chunk(bucket);
  from.worker_residual(bucket.index)
      .narrow(0, chunk.begin, chunk.size())
      .add_(owed, static_cast<double>(group_.size()));
}

std::vector<int64_t> SelectExchange::selection() const {
  std::vector<int64_t> choice;
  for (const Slot& s : slots_) choice.push_back(s.choice);
  return choice;
}

bool SelectExchange::any_lossy() const {
  for (size_t b = 0; b < slots_.size(); ++b)
    if (lossy(static_cast<int64_t>(b))) return true;
  return false;
}

// Since attach() or load(), with nothing to keep from before either.
bool SelectExchange::unused() const {
  return inners_.empty() && std::ranges::all_of(slots_, [](const Slot& s) {
           return s.steps == 0 && !s.pending.defined();
         });
}

std::string SelectExchange::selection_text(std::span<const int64_t> choice) const {
  std::string text;
  for (size_t b = 0; b < choice.size();) {
    size_t end = b;
    while (end < choice.size() && choice[end] == choice[b]) ++end;
    text += (b == 0 ? "" : " ") + choices_[static_cast<size_t>(choice[b])].name;
    if (end - b < choice.size()) text += fmt::format("*{}", end - b);
    b = end;
  }
  return text;
}

std::vector<int64_t> SelectExchange::parse_selection(const std::string& text) const {
  std::vector<int64_t> choice;
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    const size_t star = word.find('*');
    const std::string name = word.substr(0, star);
    const auto found = std::ranges::find(choices_, name, &SelectCandidate::name);
    const char* const end = word.data() + word.size();
    size_t count = slots_.size();
    const bool counted =
        star == std::string::npos || std::from_chars(word.data() + star + 1, end, count) ==
                                         std::from_chars_result{end, std::errc()};
    if (!counted || found == choices_.end() || count > slots_.size() - choice.size())
      fail(ExitCode::invalid_file,
           "'{}' is no choice of exchanges for {} buckets here: candidates or buckets have changed",
           text, slots_.size());
    choice.insert(choice.end(), count, found - choices_.begin());
  }
  if (choice.size() != slots_.size())
    fail(ExitCode::invalid_file, "'{}' chooses for {} of {} buckets", text, choice.size(),
         slots_.size());
  return choice;
}

std::string SelectExchange::name() const {
  return "one of " + std::accumulate(choices_.begin() + 1, choices_.end(), choices_[0].name,
                                     [](std::string all, const SelectCandidate& c) {
                                       return std::move(all) + ", " + c.name;
                                     });
}

void SelectExchange::set_live(int64_t bucket, const at::Tensor& words) {
  slot(bucket).live = words;
  if (!inners_.empty()) inner(bucket).set_live(bucket, words);
}

void SelectExchange::set_density(double density) {
  density_ = density;
  for (size_t c = 0; c < inners_.size(); ++c)
    if (inners_[c] && choices_[c].drops) inners_[c]->set_density(density);
}

void SelectExchange::observe(ExchangeObserver observer) {
  Exchange::observe(std::move(observer));
  for (const auto& exchange : inners_)
    if (exchange) exchange->observe(observer_);
}

int SelectExchange::rounds() const {
  int most = 0;
  for (const auto& exchange : inners())
    if (exchange) most = std::max(most, exchange->rounds());
  return most;
}

void SelectExchange::start(int64_t bucket, const at::Tensor& message) {
  Slot& s = slot(bucket);
  s.started = true;
  if (s.pending.defined()) s.sum = at::add(message, s.pending);
  inner(bucket).start(bucket, s.sum.defined() ? s.sum : message);
}

void SelectExchange::advance(int64_t bucket, int round) {
  Exchange& exchange = inner(bucket);
  if (round < exchange.rounds()) exchange.advance(bucket, round);
}

void SelectExchange::finish(int64_t bucket, at::Tensor answer) {
  inner(bucket).finish(bucket, std::move(answer));
}

bool SelectExchange::finite(int64_t bucket, const at::Tensor& answer) const {
  return inner(bucket).finite(bucket, answer);
}

bool SelectExchange::selects() const {
  return std::ranges::any_of(choices_, &SelectCandidate::drops);
}

std::span<const int64_t> SelectExchange::selected(int64_t bucket) const {
  return inner(bucket).selected(bucket);
}

int64_t SelectExchange::wire_bytes(int64_t bucket) const {
  return inner(bucket).wire_bytes(bucket);
}

int64_t SelectExchange::encodes() const {
  int64_t sum = encodes_before_;
  for (const auto& exchange : inners_)
    if (exchange) sum += exchange->encodes();
  return sum;
}

void SelectExchange::commit() {
  for (const auto& exchange : inners_)
    if (exchange) exchange->commit();
  for (Slot& s : slots_) {
    if (!std::exchange(s.started, false)) continue;
    ++s.steps;
    s.pending = s.sum = at::Tensor();
  }
}

void SelectExchange::rollback() {
  for (const auto& exchange : inners_)
    if (exchange) exchange->rollback();
  for (Slot& s : slots_) {
    s.started = false;
    s.sum = at::Tensor();
  }
}

void SelectExchange::reset_residuals() {
  for (const auto& exchange : inners_)
    if (exchange) exchange->reset_residuals();
  for (Slot& s : slots_) s.pending = at::Tensor();
}

double SelectExchange::residual_norm() const {
  double squares = 0;
  for (const auto& exchange : inners_)
    if (exchange) squares += std::pow(exchange->residual_norm(), 2);
  for (const Slot& s : slots_)
    if (s.pending.defined()) squares += sum_of_squares(s.pending);
  return std::sqrt(squares);
}

at::Tensor SelectExchange::worker_residual(int64_t bucket) const {
  return lossy(bucket) ? inner(bucket).worker_residual(bucket) : slot(bucket).pending;
}

at::Tensor SelectExchange::server_residual(int64_t bucket) const {
  return inner(bucket).server_residual(bucket);
}

// As a worker's residual, which it was, and how often dense buckets were exchanged.
void SelectExchange::save_pending(StateWriter& state) const {
  std::vector<Range> ranges;
  for (const Bucket& bucket : plan_.buckets) {
    const Slot& s = slot(bucket.index);
    ranges.push_back(s.pending.defined() ? Range{0, bucket.size} : Range{});
    if (!lossy(bucket.index)) state.value(Scope::shared, steps_key(bucket.index), s.steps);
  }
  Residual kept(kWorkerResidual);
  kept.attach(plan_, ranges, at::kCPU);
  for (const Bucket& bucket : plan_.buckets)
    if (slot(bucket.index).pending.defined())
      at::Tensor(kept.current(bucket.index)).copy_(slot(bucket.index).pending);
  kept.save(state);
}

void SelectExchange::load_inners(const StateReader& state) {
  std::vector<Range> ranges;
  for (const Bucket& bucket : plan_.buckets) {
    Slot& s = slot(bucket.index);
    s.steps = state.integer(Scope::shared, steps_key(bucket.index)).value_or(0);
    s.started = false;
    s.pending = s.sum = at::Tensor();
    const bool pending = !lossy(bucket.index) && is_saved(state, kWorkerResidual, bucket);
    ranges.push_back(pending ? Range{0, bucket.size} : Range{});
  }
  for (const auto& exchange : inners_)
    if (exchange) exchange->load(state);
  Residual kept(kWorkerResidual);
  kept.attach(plan_, ranges, at::kCPU);
  kept.load(state, shared_alike(state, group_.size()));
  for (const Bucket& bucket : plan_.buckets)
    if (ranges[static_cast<size_t>(bucket.index)].size() > 0)
      slot(bucket.index).pending = kept.current(bucket.index);
}

void SelectExchange::save(StateWriter& state) const {
  state.value(Scope::shared, kSelection, selection_text());
  save_pending(state);
  if (inners_.empty() && !any_lossy()) return;
  for (const auto& exchange : inners())
    if (exchange) exchange->save(state);
}

void SelectExchange::load(const StateReader& state) {
  const std::vector<int64_t> choice =
      parse_selection(state.require_text(Scope::shared, kSelection));
  for (size_t b = 0; b < slots_.size(); ++b) slots_[b].choice = choice[b];
  inners_ = any_lossy() ? make_inners() : Inners();
  load_inners(state);
}

}  // namespace terse
