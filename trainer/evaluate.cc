#include "trainer/evaluate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "comm/bucket.h"
#include "trainer/data/batcher.h"
#include "trainer/tensors.h"

namespace terse {
namespace {

struct Score {
  double nll;
  int64_t right;
};

void append(std::vector<Score>& all, const Scores& scores) {
  const double* nll = scores.nll.const_data_ptr<double>();
  for (int64_t i = 0; i < scores.nll.numel(); ++i)
    all.push_back({nll[i], scores.right.defined() ? scores.right[i].item<int64_t>() : 0});
}

// Of each example of the range, in order. `most`: examples of the largest share.
std::vector<Score> own_scores(Model& model, const Examples& examples, Range range, int64_t most,
                              const EvaluateOptions& options) {
  const int64_t batch = options.batch * std::max<int64_t>(1, 256 / examples.targets());
  std::vector<Score> all;
  for (int64_t done = 0; done < most; done += batch) {
    if (options.between) options.between();
    const int64_t at = range.begin + done;
    const int64_t rows = std::min(batch, range.end - at);
    if (rows > 0) append(all, model.scores(token_tensor(read_in_order(examples, at, rows))));
  }
  return all;
}

}  // namespace

Evaluation evaluate(Model& model, const Examples& examples, Group group,
                    const EvaluateOptions& options) {
  const int64_t count =
      options.examples == 0 ? examples.count() : std::min(examples.count(), options.examples);
  const int64_t share = (count + group.size() - 1) / group.size();
  const Range mine{std::min(share * group.rank(), count),
                   std::min(share * (group.rank() + 1), count)};
  const std::vector<Score> own = own_scores(model, examples, mine, share, options);
  double sum = 0;
  int64_t right = 0;
  for (const auto& bytes : group.all_gather_bytes(std::as_bytes(std::span(own)), "evaluation")) {
    for (size_t at = 0; at < bytes.size(); at += sizeof(Score)) {
      Score score{};
      std::memcpy(&score, bytes.data() + at, sizeof score);
      sum += score.nll;
      right += score.right;
    }
  }
  Evaluation result;
  result.tokens = count * examples.targets();
  const auto targets = static_cast<double>(result.tokens);
  result.loss = sum / targets;
  result.perplexity = std::exp(result.loss);
  if (model.classifies()) result.accuracy = static_cast<double>(right) / targets;
  return result;
}

}  // namespace terse
