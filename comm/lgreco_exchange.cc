#include "comm/lgreco_exchange.h"

#include <ATen/ATen.h>
#include <omp.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "comm/allocation/error_tables.h"
#include "comm/codec/topk.h"
#include "comm/exchange_tensors.h"

namespace terse {
namespace {

LgrecoFamily family_of(std::vector<double> parameters, double reference,
                       std::shared_ptr<const Codec> codec) {
  parameters.push_back(reference);
  std::sort(parameters.begin(), parameters.end());
  parameters.erase(std::unique(parameters.begin(), parameters.end()), parameters.end());
  return {std::move(parameters), reference, std::move(codec)};
}

// What bind() and set_parameters() take for "whole".
double whole_parameter(const LgrecoFamily& family) {
  if (!family.codec) return 0;                             // rank
  return family.codec->id() == CodecId::topk ? 1.0 : 8.0;  // density; bits have no whole
}

std::string steps_key() {
  return "exchange/lgreco/steps";
}

}  // namespace

LgrecoFamily lgreco_bits(int64_t reference, std::shared_ptr<const Codec> codec) {
  return family_of({1, 2, 3, 4, 5, 6, 7, 8}, static_cast<double>(reference), std::move(codec));
}

// A quarter to eight times the reference.
LgrecoFamily lgreco_topk(double reference, std::shared_ptr<const Codec> codec) {
  std::vector<double> densities;
  for (const double factor : {0.125, 0.25, 0.35, 0.5, 0.7, 1.4, 2.0, 4.0, 8.0})
    densities.push_back(std::min(0.5, reference * factor));
  return family_of(std::move(densities), reference, std::move(codec));
}

LgrecoFamily lgreco_low_rank(int64_t reference) {
  std::vector<double> ranks;
  for (const double factor : {0.25, 0.5, 0.75, 1.5, 2.0, 3.0, 4.0})
    ranks.push_back(std::max(1.0, std::round(static_cast<double>(reference) * factor)));
  return family_of(std::move(ranks), static_cast<double>(reference), nullptr);
}

LgrecoExchange::LgrecoExchange(Group group, std::unique_ptr<Exchange> inner, LgrecoFamily family,
                               const LgrecoOptions& options)
    : group_(std::move(group)),
      inner_(std::move(inner)),
      family_(std::move(family)),
      options_(options),
      sums_("exchange/lgreco/sums") {
  if (options.sums < 1 || options.delay < 1 || options.sums + options.delay > options.every)
    fail(ExitCode::usage,
         "[exchange] every = {}: needs at least {} steps, to sum gradients and to make tables",
         options.every, options.sums + options.delay);
}

LgrecoExchange::~LgrecoExchange() = default;

void LgrecoExchange::attach(const BucketPlan& plan) {
  plan_ = plan;
  items_.clear();
  const auto reference =
      std::find(family_.parameters.begin(), family_.parameters.end(), family_.reference);
  inner_->attach(plan_);
  observed_ = inner_->observed(plan_);
  for (const Bucket& bucket : plan_.buckets) {
    const Range range = observed_[static_cast<size_t>(bucket.index)];
    for (size_t s = 0; s < bucket.segments.size(); ++s) {
      const Segment& segment = bucket.segments[s];
      const int64_t begin = std::clamp(segment.offset, range.begin, range.end);
      const int64_t end = std::clamp(segment.offset + segment.size, range.begin, range.end);
      if (segment.matrix())
        items_.push_back({bucket.index, s, reference - family_.parameters.begin(), {begin, end}});
    }
  }
  inner_->observe([this](int64_t bucket, const at::Tensor& message, const at::Tensor& residual) {
    sum(bucket, message, residual);
  });
  sums_.attach(plan_, observed_, at::kCPU);
}

void LgrecoExchange::set_live(int64_t bucket, const at::Tensor& words) {
  inner_->set_live(bucket, words);
}

void LgrecoExchange::start(int64_t bucket, const at::Tensor& message) {
  inner_->start(bucket, message);
}

// On the communication thread, in start().
void LgrecoExchange::sum(int64_t bucket, const at::Tensor& message, const at::Tensor& residual) {
  if (!summing()) return;
  at::Tensor& next = sums_.shadow(bucket);
  at::add_out(next, sums_.current(bucket), message);
  next.add_(residual);
}

void LgrecoExchange::rollback() {
  inner_->rollback();
  sums_.rollback();
}

void LgrecoExchange::commit() {
  inner_->commit();
  sums_.commit();
  ++steps_;
  if (place() == 0) begin_tables();
  if (place() == options_.delay && tables_.valid()) decide();
}

void LgrecoExchange::begin_tables() {
  std::vector<at::Tensor> sums;
  for (const Bucket& bucket : plan_.buckets) sums.push_back(sums_.current(bucket.index));
  tables_ = std::async(std::launch::async, [this, sums] {
    omp_set_num_threads(1);  // beside training
    return make_tables(sums);
  });
}

LgrecoExchange::Tables LgrecoExchange::make_tables(const std::vector<at::Tensor>& sums) const {
  Tables tables;
  tables.squared_errors.resize(items_.size() * static_cast<size_t>(choices()));
  tables.bytes.resize(tables.squared_errors.size());
  for (size_t i = 0; i < items_.size(); ++i) {
    tables.elements.push_back(static_cast<double>(items_[i].here.size()));
    if (items_[i].here.size() > 0)
      fill_item(items_[i], sums[static_cast<size_t>(items_[i].bucket)], i, tables);
  }
  return tables;
}

void LgrecoExchange::fill_item(const Item& item, const at::Tensor& sums, size_t row,
                               Tables& tables) const {
  const auto b = static_cast<size_t>(item.bucket);
  const Bucket part = slice_bucket(plan_.buckets[b], item.here);
  const Segment& s = part.segments.front();
  const float* x = sums.const_data_ptr<float>() + item.here.begin - observed_[b].begin;
  const auto n = static_cast<size_t>(choices());
  double* errors = tables.squared_errors.data() + row * n;
  double* bytes = tables.bytes.data() + row * n;
  const std::vector<double>& parameters = family_.parameters;
  if (!family_.codec) {
    const auto most = std::min({static_cast<int64_t>(parameters.back()), s.rows, s.columns});
    const auto by_rank = low_rank_errors({x, static_cast<size_t>(s.size)}, s.rows, s.columns, most);
    for (size_t c = 0; c < parameters.size(); ++c) {
      const auto rank = std::min(static_cast<int64_t>(parameters[c]), most);
      errors[c] = by_rank[static_cast<size_t>(rank)];
      bytes[c] = static_cast<double>(8 * rank * (s.rows + s.columns));
    }
    bytes[n - 1] = static_cast<double>(8 * s.size);
  } else {
    const auto lost = codec_errors(*family_.codec, part, parameters, x);
    const auto sizes = codec_bytes(*family_.codec, s.rows, s.columns, parameters, x);
    std::copy(lost[0].begin(), lost[0].end(), errors);
    std::copy(sizes.begin(), sizes.end(), bytes);
    bytes[n - 1] = static_cast<double>(4 * s.size);
  }
  errors[n - 1] = 0;
  for (size_t c = 0; c < n; ++c) errors[c] *= errors[c];
}

LgrecoExchange::Tables LgrecoExchange::averaged(const Tables& own) {
  Tables mean = own;
  const auto add_up = [&](std::vector<double>& values) {
    const auto parts = group_.all_gather_bytes(std::as_bytes(std::span(values)), "L-GreCo tables");
    std::fill(values.begin(), values.end(), 0.0);
    for (const auto& part : parts) {
      std::vector<double> theirs(values.size());
      if (part.size() != values.size() * sizeof(double))
        fail(ExitCode::disagree, "L-GreCo: a rank's tables have {} bytes, this one's {}",
             part.size(), values.size() * sizeof(double));
      std::memcpy(theirs.data(), part.data(), part.size());
      for (size_t i = 0; i < values.size(); ++i) values[i] += theirs[i];
    }
  };
  add_up(mean.squared_errors);
  add_up(mean.bytes);
  add_up(mean.elements);
  const auto n = static_cast<size_t>(choices());
  for (size_t i = 0; i < items_.size(); ++i) {
    // Every rank, or every node, has compressed the matrix once.
    const double times = mean.elements[i] / static_cast<double>(segment_of(items_[i]).size);
    for (size_t c = 0; c < n; ++c) {
      mean.squared_errors[i * n + c] /= times;
      mean.bytes[i * n + c] /= times;
    }
  }
  return mean;
}

void LgrecoExchange::decide() {
  const Tables tables = averaged(tables_.get());
  sums_.zero();
  const auto n = static_cast<size_t>(choices());
  const auto reference =
      std::find(family_.parameters.begin(), family_.parameters.end(), family_.reference);
  std::vector<AllocationSegment> segments;
  for (size_t i = 0; i < items_.size(); ++i) {
    AllocationSegment segment{.choices = {},
                              .reference = reference - family_.parameters.begin(),
                              .current = items_[i].choice};
    for (size_t c = 0; c < n; ++c)
      segment.choices.push_back({c + 1 < n ? family_.parameters[c] : whole_parameter(family_),
                                 tables.bytes[i * n + c],
                                 std::sqrt(tables.squared_errors[i * n + c])});
    // A grid of bits has no "whole": its last choice would lose more than it claims.
    if (family_.codec && family_.codec->id() != CodecId::topk) segment.choices.pop_back();
    segments.push_back(std::move(segment));
  }
  const AllocationResult result = solve_allocation(segments, options_.allocation);
  LgrecoDecision decision{.step = steps_,
                          .switched = result.switches,
                          .cost = result.switches ? result.cost : result.current_cost,
                          .uniform_cost = result.reference_cost,
                          .error = result.switches ? result.error : result.current_error,
                          .budget = result.budget,
                          .parameters = {}};
  for (size_t i = 0; i < items_.size(); ++i) {
    if (result.switches) items_[i].choice = result.choice[i];
    decision.parameters.emplace_back(
        segment_of(items_[i]).name,
        segments[i].choices[static_cast<size_t>(items_[i].choice)].parameter);
  }
  if (result.switches) apply();
  decisions_.push_back(std::move(decision));
}

std::vector<ExchangeDecision> LgrecoExchange::take_decisions() {
  std::vector<ExchangeDecision> taken;
  for (; taken_ < decisions_.size(); ++taken_) {
    const LgrecoDecision& d = decisions_[taken_];
    std::string chosen;
    for (const auto& [name, parameter] : d.parameters)
      chosen += fmt::format("{}{}={}", chosen.empty() ? "" : " ", name, parameter);
    taken.push_back(
        {"lgreco", chosen,
         fmt::format("{}: {:.0f} bytes a step where the uniform choice takes {:.0f}, "
                     "error {:.4g} of a budget of {:.4g}",
                     d.switched ? "changed" : "kept", d.cost, d.uniform_cost, d.error, d.budget)});
  }
  return taken;
}

void LgrecoExchange::apply() {
  for (const Bucket& bucket : plan_.buckets) {
    std::vector<double> parameters(bucket.segments.size(), whole_parameter(family_));
    for (const Item& item : items_)
      if (item.bucket == bucket.index)
        parameters[item.segment] = item.choice + 1 < choices()
                                       ? family_.parameters[static_cast<size_t>(item.choice)]
                                       : whole_parameter(family_);
    inner_->set_parameters(bucket.index, parameters);
  }
}

void LgrecoExchange::save(StateWriter& state) const {
  state.value(Scope::shared, steps_key(), steps_);
  std::string choice;
  for (const Item& item : items_) choice += fmt::format("{} ", item.choice);
  state.value(Scope::shared, "exchange/lgreco/choice", choice);
  sums_.save(state);
  inner_->save(state);
}

void LgrecoExchange::load(const StateReader& state) {
  steps_ = state.require_integer(Scope::shared, steps_key());
  const std::string text = state.require_text(Scope::shared, "exchange/lgreco/choice");
  const char* at = text.data();
  const char* const end = at + text.size();
  bool uniform = true;
  for (Item& item : items_) {
    int64_t choice = -1;
    const auto [next, error] = std::from_chars(at, end, choice);
    if (error != std::errc() || choice < 0 || choice >= choices())
      fail(ExitCode::invalid_file, "checkpoint: L-GreCo's choices do not fit this recipe's");
    uniform = uniform && choice == item.choice;
    item.choice = choice;
    at = next < end ? next + 1 : end;
  }
  if (!uniform) apply();
  sums_.load(state, group_.size());
  inner_->load(state);
  if (steps_ > 0 && place() < options_.delay) begin_tables();
}

}  // namespace terse
