// Two small problems whose data is split as unkindly as can be: by class, and by what the teacher
// sees. Every step takes the whole shard, so that a run has no randomness but its start.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "comm/group.h"
#include "comm/parameter.h"

namespace terse {

struct CanaryProblem {
  std::vector<Parameter> parameters;
  std::function<at::Tensor(const std::vector<Parameter>&)> loss;  // of this rank's shard
};

inline Parameter canary_parameter(const std::string& name, const at::Tensor& start) {
  return {name, start.clone().requires_grad_(true), start.dim() > 1};
}

// This rank's part of rows sorted by `key`.
inline at::Tensor canary_shard(const at::Tensor& rows, const at::Tensor& key, const Group& group) {
  const int64_t share = rows.size(0) / group.size();
  return rows.index_select(0, at::argsort(key)).narrow(0, group.rank() * share, share).contiguous();
}

// 10 classes in 32 dimensions, told apart by a linear map but for one label in ten, which is
// random: no weights separate them, so the loss, strictly convex but for a shift of all classes,
// has one least value, above 0. Rank 0 has the lower half of the classes, rank 1 the upper: each
// alone would move far away from the optimum of both.
inline CanaryProblem canary_logistic(const Group& group) {
  constexpr int64_t kSamples = 512, kInputs = 32, kClasses = 10;
  at::manual_seed(21);
  const at::Tensor teacher = at::randn({kClasses, kInputs}), all = at::randn({kSamples, kInputs});
  const at::Tensor wrong = at::rand({kSamples}) < 0.1;
  const at::Tensor labels = at::where(wrong, at::randint(kClasses, {kSamples}, at::kLong),
                                      at::matmul(all, teacher.t()).argmax(1));
  // Ties by number of the sample: a sort of equal keys may put them in any order.
  const at::Tensor key = labels * kSamples + at::arange(kSamples);
  const at::Tensor x = canary_shard(all, key, group), y = canary_shard(labels, key, group);
  return {{canary_parameter("w", at::randn({kClasses, kInputs}) * 0.1),
           canary_parameter("b", at::zeros({kClasses}))},
          [x, y](const std::vector<Parameter>& p) {
            return at::cross_entropy_loss(at::matmul(x, p[0].value.t()) + p[1].value, y);
          }};
}

// A network of 32 hidden units learns one of 4 from 1,024 answers with noise. Rank 0 has the inputs
// on one side of a hidden unit of the teacher, rank 1 those on the other.
inline CanaryProblem canary_mlp(const Group& group) {
  constexpr int64_t kSamples = 1024, kInputs = 16, kHidden = 32, kOutputs = 8;
  at::manual_seed(22);
  const at::Tensor a = at::randn({4, kInputs}) * 0.5, b = at::randn({kOutputs, 4});
  const at::Tensor all = at::randn({kSamples, kInputs});
  const at::Tensor answers =
      at::matmul(at::tanh(at::matmul(all, a.t())), b.t()) + at::randn({kSamples, kOutputs}) * 0.5;
  const at::Tensor key = at::matmul(all, a[0]);
  const at::Tensor x = canary_shard(all, key, group), y = canary_shard(answers, key, group);
  return {{canary_parameter("w1", at::randn({kHidden, kInputs}) / 4),
           canary_parameter("b1", at::zeros({kHidden})),
           canary_parameter("w2", at::randn({kOutputs, kHidden}) * 0.177),
           canary_parameter("b2", at::zeros({kOutputs}))},
          [x, y](const std::vector<Parameter>& p) {
            const at::Tensor h = at::tanh(at::matmul(x, p[0].value.t()) + p[1].value);
            return at::square(at::matmul(h, p[2].value.t()) + p[3].value - y).mean();
          }};
}

}  // namespace terse
