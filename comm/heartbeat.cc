#include "comm/heartbeat.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <exception>
#include <string_view>
#include <utility>

#include "launch/store_connection.h"

namespace terse {
namespace {

constexpr std::chrono::milliseconds kPeriod{500};
constexpr std::chrono::milliseconds kGoodbyePatience{5'000};
constexpr std::chrono::milliseconds kGoodbyeDeadline{60'000};
constexpr std::chrono::milliseconds kStoreTimeout{5'000};
constexpr const char* kFailureKey = "failure";

std::string beat_key(int rank) {
  return fmt::format("beat/{}", rank);
}

// "2,5|lost|rank 2 ..." <-> Failure
std::string pack(const Failure& failure) {
  return fmt::format("{}|{}|{}", fmt::join(failure.lost, ","), failure.deadline ? "late" : "lost",
                     failure.text);
}

Failure unpack(const std::string& packed) {
  Failure failure;
  const size_t bar = std::min(packed.find('|'), packed.size());
  for (size_t at = 0; at < bar;) {
    const size_t comma = std::min(packed.find(',', at), bar);
    int rank = -1;
    std::from_chars(packed.data() + at, packed.data() + comma, rank);
    if (rank >= 0) failure.lost.push_back(rank);
    at = comma + 1;
  }
  const std::string rest = packed.substr(std::min(bar + 1, packed.size()));
  failure.deadline = rest.starts_with("late|");
  failure.text = rest.substr(std::min<size_t>(5, rest.size()));
  return failure;
}

}  // namespace

Heartbeat::Heartbeat(c10::intrusive_ptr<c10d::Store> store, int rank, int size, bool hosts_store,
                     bool store_on_rank_0, std::chrono::milliseconds limit)
    : store_(store->clone()),
      rank_(rank),
      size_(size),
      hosts_store_(hosts_store),
      store_on_rank_0_(store_on_rank_0),
      limit_(limit),
      neighbour_((rank + 1) % size),
      neighbour_heard_(Clock::now()) {
  // A dead store's host must not hold us for the store's own five minutes.
  store_->setTimeout(kStoreTimeout);
  limit_silence(*store_, limit);
  beat();
  thread_ = std::thread([this] { run(); });
}

Heartbeat::~Heartbeat() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
  try {
    std::lock_guard lock(store_mutex_);
    store_->set(beat_key(rank_), own_beat(failure() ? "failed" : "finished"));
    if (hosts_store_) wait_for_goodbyes();
  } catch (const std::exception&) {
    // The store is gone, so nobody is left to read a goodbye.
  }
}

void Heartbeat::at(int64_t sequence, std::string what) {
  std::lock_guard lock(mutex_);
  sequence_ = sequence;
  what_ = std::move(what);
}

std::optional<Failure> Heartbeat::failure() const {
  std::lock_guard lock(mutex_);
  return failure_;
}

void Heartbeat::remember(Failure failure) {
  std::lock_guard lock(mutex_);
  if (!failure_) failure_ = std::move(failure);
}

std::string Heartbeat::own_beat(const char* state) {
  std::lock_guard lock(mutex_);
  return fmt::format("{} {} {} {}", count_, sequence_, state, what_);
}

void Heartbeat::run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (wake_.wait_for(lock, kPeriod, [this] { return stop_; })) return;
    lock.unlock();
    beat();
    lock.lock();
    if (failure_) {
      // Go on beating: others still diagnose, and must not take this rank for dead.
      continue;
    }
  }
}

void Heartbeat::beat() {
  try {
    std::lock_guard lock(store_mutex_);
    ++count_;
    store_->set(beat_key(rank_), own_beat("alive"));
    store_failing_since_.reset();
    if (failure()) return;
    if (auto told = published()) return remember(std::move(*told));
    watch_neighbour();
  } catch (const std::exception& e) {
    store_failed(e.what());
  }
}

// One lost packet or one slow answer is no dead store.
void Heartbeat::store_failed(const char* what) {
  const auto now = Clock::now();
  if (!store_failing_since_) store_failing_since_ = now;
  if (now - *store_failing_since_ >= limit_) return lost_store(what);
  try {
    std::lock_guard lock(store_mutex_);
    store_ = store_->clone();
    store_->setTimeout(kStoreTimeout);
    limit_silence(*store_, limit_);
  } catch (const std::exception&) {
    // The next beat tries again.
  }
}

void Heartbeat::watch_neighbour() {
  const auto heard = read(neighbour_);
  if (heard && heard->gone) {
    neighbour_ = (neighbour_ + 1) % size_;
    neighbour_count_ = -1;
    neighbour_heard_ = Clock::now();
    return;
  }
  if (heard && heard->count != neighbour_count_) {
    neighbour_count_ = heard->count;
    neighbour_heard_ = Clock::now();
  }
  const auto silent = Clock::now() - neighbour_heard_;
  // `heard` is empty before the neighbour's first beat: the rendezvous deadline covers that.
  if (!heard || neighbour_ == rank_ || silent < limit_) return;
  Failure failure{{neighbour_},
                  false,
                  fmt::format("rank {} has not responded for {:.1f} s", neighbour_,
                              std::chrono::duration<double>(silent).count())};
  store_->compareSet(kFailureKey, "", pack(failure));
  remember(std::move(failure));
}

void Heartbeat::lost_store(const char* what) {
  const std::string why = std::string(what).substr(0, std::string(what).find('\n'));
  if (store_on_rank_0_ && rank_ != 0) {
    remember({{0}, false, fmt::format("rank 0, which hosts the store, is gone ({})", why)});
  } else {
    remember({{}, false, fmt::format("the store of the rendezvous is gone ({})", why)});
  }
}

std::optional<Heartbeat::Beat> Heartbeat::read(int rank) {
  if (!store_->check({beat_key(rank)})) return std::nullopt;
  const std::string text = store_->get_to_str(beat_key(rank));
  Beat beat;
  const char* end = text.data() + text.size();
  auto parsed = std::from_chars(text.data(), end, beat.count);
  if (parsed.ptr < end) parsed = std::from_chars(parsed.ptr + 1, end, beat.sequence);
  std::string_view rest(parsed.ptr, static_cast<size_t>(end - parsed.ptr));
  if (!rest.empty()) rest.remove_prefix(1);
  const size_t space = std::min(rest.find(' '), rest.size());
  beat.failed = rest.substr(0, space) == "failed";
  beat.gone = beat.failed || rest.substr(0, space) == "finished";
  beat.what = rest.substr(std::min(space + 1, rest.size()));
  return beat;
}

std::optional<Failure> Heartbeat::published() {
  if (!store_->check({kFailureKey})) return std::nullopt;
  return unpack(store_->get_to_str(kFailureKey));
}

Heartbeat::Census Heartbeat::count(std::map<int, int64_t>& first) {
  std::lock_guard lock(store_mutex_);
  Census census;
  for (int r = 0; r < size_; ++r) {
    if (r == rank_) continue;
    const auto heard = read(r);
    const int64_t beats = heard ? heard->count : -1;
    first.try_emplace(r, beats);
    if (heard && heard->gone && !heard->failed) census.left.push_back(r);
    if (heard && heard->gone) continue;
    // The first change may be a beat that was under way when the rank died.
    if (beats < first[r] + 2) census.silent.push_back(r);
    if (beats == first[r] + 1) census.undecided = true;
  }
  if (auto told = published()) remember(std::move(*told));
  return census;
}

std::optional<Failure> Heartbeat::diagnose(std::chrono::milliseconds patience) {
  const auto start = Clock::now();
  const auto end = start + patience;
  std::map<int, int64_t> first;
  Census census;
  try {
    do {
      census = count(first);
      if (auto known = failure()) return known;
      if (!census.left.empty() || census.silent.empty()) break;
      if (!census.undecided && Clock::now() - start > kPeriod * 8) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    } while (Clock::now() < end);
  } catch (const std::exception& e) {
    lost_store(e.what());
    return failure();
  }
  if (census.left.empty() && census.silent.empty()) return std::nullopt;
  const auto& named = census.left.empty() ? census.silent : census.left;
  return publish({named, false,
                  fmt::format("rank{} {} {}", named.size() == 1 ? "" : "s", fmt::join(named, ", "),
                              census.left.empty() ? "stopped responding" : "left the job")});
}

std::vector<int> Heartbeat::silent_ranks(std::chrono::milliseconds patience) {
  const auto end = Clock::now() + patience;
  if (patience.count() <= 0) return {};
  std::map<int, int64_t> first;
  try {
    while (true) {
      const Census census = count(first);
      if (census.silent.empty() || Clock::now() > end) return census.silent;
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  } catch (const std::exception& e) {
    lost_store(e.what());
    return failure()->lost;
  }
}

std::string Heartbeat::behind(int64_t sequence) {
  std::vector<std::string> late;
  try {
    std::lock_guard lock(store_mutex_);
    for (int r = 0; r < size_; ++r) {
      const auto heard = r == rank_ ? std::nullopt : read(r);
      if (!heard || heard->sequence >= sequence) continue;
      late.push_back(fmt::format("rank {} (at collective {}{}{})", r, heard->sequence,
                                 heard->what.empty() ? "" : ", ", heard->what));
    }
  } catch (const std::exception&) {
    return store_on_rank_0_ && rank_ != 0 ? "rank 0, whose store does not answer"
                                          : "unknown: the store does not answer";
  }
  return late.empty() ? "none" : fmt::format("{}", fmt::join(late, ", "));
}

Failure Heartbeat::publish(Failure mine) {
  try {
    std::lock_guard lock(store_mutex_);
    store_->compareSet(kFailureKey, "", pack(mine));
    mine = published().value_or(mine);
  } catch (const std::exception&) {
    // Without a store the failure stays this rank's own knowledge.
  }
  remember(std::move(mine));
  return *failure();
}

void Heartbeat::wait_for_goodbyes() {
  // After a failure the lost ranks never say goodbye; after success all do, so that only a silent
  // rank or the deadline ends the wait.
  const auto end = Clock::now() + kGoodbyeDeadline;
  std::map<int, std::pair<int64_t, Clock::time_point>> heard;
  const std::optional<Failure> failed = failure();
  for (bool all = false; !all && Clock::now() < end;) {
    all = true;
    for (int r = 0; r < size_; ++r) {
      if (r == rank_) continue;
      const auto now = read(r);
      if (!now || now->gone) continue;
      auto [it, fresh] = heard.try_emplace(r, now->count, Clock::now());
      if (it->second.first != now->count) it->second = {now->count, Clock::now()};
      if (Clock::now() - it->second.second < (failed ? kPeriod * 4 : kGoodbyePatience)) all = false;
    }
    if (!all) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace terse
