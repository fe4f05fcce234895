// 1-bit two-stage averaging with error feedback, one segment, in fp64: shares no code with ours.
#pragma once
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace terse::testing {

using Vector = std::vector<double>;

inline Vector values_of(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kDouble).flatten().contiguous();
  return {flat.const_data_ptr<double>(), flat.const_data_ptr<double>() + flat.numel()};
}

class TwoStageReference {
 public:
  TwoStageReference(size_t elements, size_t ranks)
      : server_(elements), worker_(ranks, Vector(elements)) {}

  Vector average(const std::vector<Vector>& messages) {
    const size_t n = server_.size(), ranks = messages.size(), chunk = n / ranks;
    Vector mean(n), answer(n);
    for (size_t r = 0; r < ranks; ++r) {
      Vector x = messages[r];
      for (size_t i = 0; i < n; ++i) x[i] += worker_[r][i];
      const Vector sent = one_bit(x, 0, n);
      for (size_t i = 0; i < n; ++i) {
        worker_[r][i] = x[i] - sent[i];
        mean[i] += sent[i] / static_cast<double>(ranks);
      }
    }
    for (size_t r = 0; r < ranks; ++r) {
      for (size_t i = r * chunk; i < (r + 1) * chunk; ++i) mean[i] += server_[i];
      const Vector sent = one_bit(mean, r * chunk, (r + 1) * chunk);
      for (size_t i = r * chunk; i < (r + 1) * chunk; ++i) {
        server_[i] = mean[i] - sent[i];
        answer[i] = sent[i];
      }
    }
    return answer;
  }
  // What is averaged has changed its meaning.
  void forget() {
    std::ranges::fill(server_, 0);
    for (Vector& w : worker_) std::ranges::fill(w, 0);
  }

  const Vector& residual(size_t rank) const { return worker_[rank]; }

  // The value closest to 0 that had to be given a sign, as a part of its scale.
  double least_part = 1e9;
  double least_margin = 1e9;  // and as it is

 private:
  // +- the root mean square over [begin, end); 0 elsewhere.
  Vector one_bit(const Vector& x, size_t begin, size_t end) {
    double squares = 0;
    for (size_t i = begin; i < end; ++i) squares += x[i] * x[i];
    const double scale = std::sqrt(squares / static_cast<double>(end - begin));
    Vector sent(x.size());
    for (size_t i = begin; i < end; ++i) {
      sent[i] = x[i] < 0 ? -scale : scale;
      least_margin = std::min(least_margin, std::abs(x[i]));
      least_part = std::min(least_part, std::abs(x[i]) / scale);
    }
    return sent;
  }

  Vector server_;
  std::vector<Vector> worker_;
};

}  // namespace terse::testing
