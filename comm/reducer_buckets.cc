// Buckets on their way through the exchange, on the communication thread or behind backward.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "comm/reducer_impl.h"
#include "comm/sums.h"

namespace terse {

// In dense phases in the gradient's memory, which is not needed again then. In local steps it is
// the gradient.
at::Tensor Reducer::Impl::answer(int64_t bucket) {
  if (!coded()) return buffers[bucket].gradient;
  if (answers.empty())
    for (const BucketTensors& t : buffers.tensors()) answers.push_back(at::empty_like(t.value));
  return answers[static_cast<size_t>(bucket)];
}

// Lies where the answer will, or where every bucket's message lies in turn and the cache has it.
at::Tensor Reducer::Impl::message(int64_t bucket) {
  if (!coded() || exchange()->keeps_message(bucket)) return answer(bucket);
  if (!outgoing.defined()) {
    int64_t longest = 0;
    for (const BucketTensors& t : buffers.tensors()) longest = std::max(longest, t.value.numel());
    outgoing = at::empty({longest}, buffers[bucket].value.options());
  }
  return outgoing.narrow(0, 0, buffers[bucket].value.numel());
}

// Clipping needs the norm of dense answers; of others only whether it is finite.
double Reducer::Impl::squares_of_answer(int64_t bucket, const at::Tensor& answer) {
  if (!coded()) return sum_of_squares(answer);
  return exchange()->finite(bucket, answer) ? 0 : std::numeric_limits<double>::infinity();
}

void Reducer::Impl::run(ReducerItem item) {
  const at::NoGradGuard no_grad;
  const auto b = static_cast<size_t>(item.bucket);
  Exchange* e = exchange();
  if (e == nullptr) {
    squares[b] = sum_of_squares(buffers[item.bucket].gradient);
  } else if (item.round == 0) {
    const at::Tensor m = message(item.bucket);
    squares[b] = optimizer->message(context, item.bucket, m);
    e->start(item.bucket, m);
  } else if (item.round < e->rounds()) {
    e->advance(item.bucket, item.round);
  } else {
    const at::Tensor a = answer(item.bucket);
    e->finish(item.bucket, a);
    if (coded()) optimizer->sent(item.bucket, e->selected(item.bucket));
    answer_squares[b] = squares_of_answer(item.bucket, a);
  }
}

void Reducer::Impl::offer(bool background) {
  const Exchange* e = exchange();
  thread.begin(pipeline_order(bucket_count(), e == nullptr ? 0 : e->rounds()), background);
  offered = true;
}

// Backward is over.
void Reducer::Impl::run_tail() {
  thread.take_over();
  if (!offered) {
    if (coded() && options.clip_exact && options.clip > 0) exact_coefficient();
    offer(false);
  }
  thread.run_rest();
}

// One more small all-gather, before anything is encoded.
void Reducer::Impl::exact_coefficient() {
  for (int64_t b = 0; b < bucket_count(); ++b)
    squares[static_cast<size_t>(b)] = sum_of_squares(buffers[b].gradient);
  double sum = 0;
  for (double s : group.all_gather_value(total(squares), "clip")) sum += s;
  const double norm = std::sqrt(sum / group.size());
  context.message_scale = std::isfinite(norm) ? coefficient(norm) : 1.0;
}

void Reducer::Impl::encode_again(double true_coefficient) {
  exchange()->rollback();
  optimizer->rollback();
  context.message_scale = true_coefficient;
  offer(false);
  thread.run_rest();
}

}  // namespace terse
