#include "comm/plan/exchange_probe.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <limits>
#include <thread>

#include "base/error.h"
#include "comm/exchange_codec.h"
#include "comm/make_exchange.h"
#include "comm/shared_random.h"
#include "comm/sums.h"

namespace terse {
namespace {

using Clock = std::chrono::steady_clock;

BucketPlan first_buckets(const BucketPlan& plan, int64_t elements) {
  BucketPlan some;
  int64_t taken = 0;
  for (const Bucket& bucket : plan.buckets) {
    if (elements > 0 && taken >= elements) break;
    some.buckets.push_back(bucket);
    taken += bucket.size;
  }
  return some;
}

int64_t elements_of(const BucketPlan& plan) {
  int64_t n = 0;
  for (const Bucket& bucket : plan.buckets) n += bucket.size;
  return n;
}

// Cubes of uniform numbers: a few large, many small, as gradients.
std::vector<at::Tensor> random_messages(const BucketPlan& plan) {
  std::vector<at::Tensor> messages;
  for (const Bucket& bucket : plan.buckets) {
    const at::Tensor x = at::empty({bucket.size}, at::kFloat);
    const uint64_t seed = static_cast<uint64_t>(bucket.index + 1) << 32;
    for (int64_t i = 0; i < bucket.size; ++i)
      x.mutable_data_ptr<float>()[i] = shared_uniform(seed, static_cast<uint64_t>(i));
    messages.push_back(x.mul(x).mul_(x));
  }
  return messages;
}

// Adds up what each item takes, over all buckets.
class Trial {
 public:
  Trial(Exchange& exchange, const BucketPlan& plan, bool lossy, const ExchangeProbeOptions& probe)
      : exchange_(exchange), gradients_(random_messages(plan)), lossy_(lossy) {
    int64_t longest = 0;
    for (const at::Tensor& g : gradients_) {
      answers_.push_back(at::empty_like(g));
      longest = std::max(longest, g.numel());
    }
    outgoing_ = at::empty({longest}, at::kFloat);
    if (lossy && probe.messages)
      fill_ = probe.messages(plan, gradients_);
    else
      fill_ = [this](int64_t b, at::Tensor message) {
        const at::Tensor& gradient = gradients_[static_cast<size_t>(b)];
        at::mul_out(message, gradient, at::scalar_tensor(0.5f));
        return sum_of_squares(gradient);
      };
  }

  std::vector<double> run() {
    std::vector<double> seconds(static_cast<size_t>(exchange_.rounds()) + 1);
    for (size_t b = 0; b < gradients_.size(); ++b) {
      if (!lossy_) answers_[b].copy_(gradients_[b]);
      for (size_t r = 0; r < seconds.size(); ++r) {
        const auto begin = Clock::now();
        item(static_cast<int64_t>(b), static_cast<int>(r));
        seconds[r] += std::chrono::duration<double>(Clock::now() - begin).count();
      }
    }
    exchange_.commit();
    return seconds;
  }

 private:
  // As Reducer::Impl::run.
  void item(int64_t bucket, int round) {
    at::Tensor& answer = answers_[static_cast<size_t>(bucket)];
    if (round == 0) {
      const at::Tensor m = message(bucket);
      sink_ += lossy_ ? fill_(bucket, m) : sum_of_squares(m);
      exchange_.start(bucket, m);
    } else if (round < exchange_.rounds()) {
      exchange_.advance(bucket, round);
    } else {
      exchange_.finish(bucket, answer);
      sink_ +=
          lossy_ ? static_cast<double>(exchange_.finite(bucket, answer)) : sum_of_squares(answer);
    }
  }
  at::Tensor message(int64_t bucket) {
    const at::Tensor& answer = answers_[static_cast<size_t>(bucket)];
    if (!lossy_ || exchange_.keeps_message(bucket)) return answer;
    return outgoing_.narrow(0, 0, answer.numel());
  }

  Exchange& exchange_;
  std::vector<at::Tensor> gradients_, answers_;
  at::Tensor outgoing_;
  bool lossy_;
  FillMessage fill_;
  double sink_ = 0;  // so that no norm is optimised away
};

std::vector<double> fastest(Trial& trial, int repetitions) {
  std::vector<double> best = trial.run();  // buffers' first touch
  std::fill(best.begin(), best.end(), std::numeric_limits<double>::infinity());
  for (int i = 0; i < repetitions; ++i) {
    const std::vector<double> next = trial.run();
    for (size_t r = 0; r < best.size(); ++r) best[r] = std::min(best[r], next[r]);
  }
  return best;
}

// As the Reducer's communication thread: a team of one.
template <typename F>
void alone(F work) {
  std::exception_ptr thrown;
  std::thread([&] {
    at::init_num_threads();
    omp_set_num_threads(1);
    const at::NoGradGuard no_grad;
    try {
      work();
    } catch (...) {
      thrown = std::current_exception();
    }
  }).join();
  if (thrown) std::rethrow_exception(thrown);
}

// What each message after the first adds to decoding a bucket.
Work decode_more(const ExchangeOptions& options, const Bucket& bucket, int repetitions) {
  BucketPlan plan;
  plan.buckets.push_back(bucket);
  const at::Tensor message = random_messages(plan).front();
  at::Tensor answer = at::empty_like(message);
  const auto codec = make_codec(options)->bind(bucket, {Range{0, bucket.size}});
  std::vector<uint64_t> room(static_cast<size_t>(codec->bytes(0) / 8 + 1));
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(room));
  const MessageTag tag{
      .bucket = static_cast<uint32_t>(bucket.index), .sender = 0, .step = 1, .stage = 0};
  int64_t used = 0;
  codec->encode(tag, {.message = message.const_data_ptr<float>()}, std::span(&bytes, 1),
                std::span(&used, 1));
  constexpr size_t kMany = 5;
  const std::vector<MessageTag> tags(kMany, tag);
  const std::vector<std::span<const std::byte>> messages(
      kMany, std::span<const std::byte>(bytes).first(static_cast<size_t>(used)));
  const auto seconds = [&](size_t count) {
    double best = std::numeric_limits<double>::infinity();
    for (int i = 0; i <= repetitions; ++i) {
      const auto begin = Clock::now();
      codec->decode_sum(0, std::span(tags).first(count), std::span(messages).first(count), 1.0f,
                        nullptr, answer.mutable_data_ptr<float>());
      best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
    }
    return best;
  };
  const auto more = [&] {
    return std::max(0.0, seconds(kMany) - seconds(1)) /
           (static_cast<double>(kMany - 1) * static_cast<double>(bucket.size));
  };
  Work work{.alone = 0, .team = more()};
  alone([&] { work.alone = more(); });
  return work;
}

}  // namespace

ExchangeSpeed measure_exchange(const ExchangeOptions& options, const BucketPlan& plan,
                               int64_t ranks, const ExchangeProbeOptions& probe) {
  const at::NoGradGuard no_grad;
  const BucketPlan some = first_buckets(plan, probe.elements);
  ExchangeOptions flat = options;
  flat.codec = options.worker();
  flat.hierarchy = false;
  if (flat.codec == "topk") flat.sparse = one_stage(options, ranks) ? "gather" : "scatter";
  ExchangeSpeed speed;
  if (some.buckets.empty()) return speed;
  const auto exchange = make_exchange(Group::single(), flat);
  exchange->attach(some);
  Trial trial(*exchange, some, flat.compressed(), probe);
  const std::vector<double> team = fastest(trial, probe.repetitions);
  std::vector<double> one;
  alone([&] { one = fastest(trial, probe.repetitions); });
  const auto n = static_cast<double>(elements_of(some));
  for (size_t r = 0; r < team.size(); ++r) speed.items.push_back({one[r] / n, team[r] / n});
  if (flat.codec == "topk")
    speed.per_message = decode_more(flat, some.buckets.front(), probe.repetitions);
  return speed;
}

ExchangeSpeed slowest(Group group, const ExchangeSpeed& own) {
  std::vector<Work> mine = own.items;
  mine.push_back(own.per_message);
  for (const auto& part :
       group.all_gather_bytes(std::as_bytes(std::span(mine)), "exchange speed")) {
    std::vector<Work> theirs(mine.size());
    if (part.size() != theirs.size() * sizeof(Work))
      fail(ExitCode::disagree, "a rank measured an exchange of other rounds than this one");
    std::memcpy(static_cast<void*>(theirs.data()), part.data(), part.size());
    for (size_t i = 0; i < mine.size(); ++i)
      mine[i] = {std::max(mine[i].alone, theirs[i].alone), std::max(mine[i].team, theirs[i].team)};
  }
  ExchangeSpeed all{.items = {mine.begin(), mine.end() - 1}, .per_message = mine.back()};
  return all;
}

}  // namespace terse
