// Error control of N ranks in fp64, as the papers write it, for any compressor.
#pragma once
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <functional>
#include <string>
#include <vector>

#include "comm/error_control.h"

namespace terse::testing {

// Every policy; of EControl weak and strong feedback.
inline std::vector<FeedbackOptions> control_options() {
  return {{.kind = Feedback::classic},
          {.kind = Feedback::ef21},
          {.kind = Feedback::econtrol, .eta = 0.02},
          {.kind = Feedback::econtrol, .eta = 0.3},
          {.kind = Feedback::econtrol, .eta = 1.0}};
}

inline std::string control_label(const FeedbackOptions& o) {
  if (o.kind == Feedback::econtrol) return fmt::format("econtrol {}", o.eta);
  return o.kind == Feedback::ef21 ? "ef21" : "classic";
}

// Fed with all ranks' messages; state i is rank i's. The g of the papers is the message.
class SimulatedControl {
 public:
  // q_i, in fp64, of all ranks' x_i.
  using Compress = std::function<std::vector<at::Tensor>(const std::vector<at::Tensor>& x)>;

  SimulatedControl(const FeedbackOptions& options, int64_t ranks, int64_t size, Compress compress)
      : options_(options), compress_(std::move(compress)) {
    for (int64_t i = 0; i < ranks; ++i) {
      e_.push_back(at::zeros({size}, at::kDouble));
      h_.push_back(at::zeros({size}, at::kDouble));
    }
  }

  // The mean that the optimizer gets.
  at::Tensor step(const std::vector<at::Tensor>& messages) {
    x_.clear();
    for (size_t i = 0; i < messages.size(); ++i)
      x_.push_back(input(i, messages[i].to(at::kDouble)));
    const std::vector<at::Tensor> q = compress_(x_);
    for (size_t i = 0; i < messages.size(); ++i) take(i, messages[i].to(at::kDouble), q[i]);
    return at::stack(options_.kind == Feedback::classic ? q : h_).mean(0);
  }

  // Of the last step: what was compressed.
  const std::vector<at::Tensor>& inputs() const { return x_; }
  // Error, and estimate of the message.
  const std::vector<at::Tensor>& e() const { return e_; }
  const std::vector<at::Tensor>& h() const { return h_; }

 private:
  at::Tensor input(size_t i, const at::Tensor& g) const {
    switch (options_.kind) {
      case Feedback::classic:  // arXiv:1901.09847, algorithm 2: p = g + e
        return g + e_[i];
      case Feedback::ef21:  // arXiv:2106.05203, algorithm 2: c = C(grad - g)
        return g - h_[i];
      case Feedback::econtrol:  // arXiv:2311.05645, algorithm 1: delta = C(eta e + g - h)
        return options_.eta * e_[i] + g - h_[i];
    }
    return {};
  }
  void take(size_t i, const at::Tensor& g, const at::Tensor& q) {
    if (options_.kind == Feedback::classic) {
      e_[i] = x_[i] - q;  // e' = p - C(p)
      return;
    }
    h_[i] = h_[i] + q;                                                   // both: h' = h + C(.)
    if (options_.kind == Feedback::econtrol) e_[i] = e_[i] + g - h_[i];  // e' = e + g - h'
  }

  FeedbackOptions options_;
  Compress compress_;
  std::vector<at::Tensor> e_, h_, x_;
};

}  // namespace terse::testing
