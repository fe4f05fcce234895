// ErrorControl: what of a message a rank lets the codec compress, and what it keeps for later.
// Shared by every exchange with a contractive codec C; q is what C made of its input x.
//
//   classic   x = m + e            e' = x - q                          answer = mean q
//             Karimireddy et al., arXiv:1901.09847; Stich et al., arXiv:1809.07599
//   ef21      x = m - h            h' = h + q                          answer = mean h'
//             Richtarik et al., arXiv:2106.05203
//   econtrol  x = eta e + m - h    h' = h + q,  e' = e + m - h'        answer = mean h'
//             Gao, Islamov, Stich, arXiv:2311.05645, algorithm 1
//
// classic sends everything sooner or later, but feeds old errors back at full strength: with
// different data on each rank it can diverge where the others converge. ef21 compresses the change
// of the message; econtrol adds a part eta of the accumulated error to it.
//
// Buffers: one (classic, ef21) or two (econtrol) of the bucket's size with a shadow each, and for
// ef21 and econtrol the mean h, the same on all ranks, with its shadow. In fp32; classic also in
// bf16 rounded to nearest (half the memory; what rounding cuts off, a part 2^-9 of the residual, is
// lost). The others need fp32: mean h must stay the mean of the h, and roundings would add up.
// Stored are r = -h (ef21) and e, r = eta e - h (econtrol), so that x = m + r in every policy and a
// codec reads one residual:
//   ef21      r' = s - m           econtrol  e' = (1 - eta) e + s,  r' = (1 + eta) s - eta^2 e - m
// with s = x - q as the codec leaves it.
//
// Also counts each bucket's exchanges, which tags its messages and seeds what is drawn at random: a
// step that is rolled back does not count.
//
// On ranks that share otherwise all of these become their means over the old ranks
// (comm/residual.h), which keeps mean e and mean h.
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/state.h"
#include "comm/bucket.h"
#include "comm/residual.h"

namespace terse {

enum class Feedback : uint8_t { classic, ef21, econtrol };
// classic | ef21 | econtrol, or Error(usage).
Feedback parse_feedback(const std::string& name);

struct FeedbackOptions {
  Feedback kind = Feedback::classic;
  double eta = 0.1;  // econtrol: strength of the accumulated error, (0, 1]
  bool bf16 = false;
};

class ErrorControl {
 public:
  // State is saved under `prefix`. Error(usage) for bf16 with another policy than classic.
  ErrorControl(const FeedbackOptions& options, const std::string& prefix);

  void attach(const BucketPlan& plan, at::Device device);

  // fp32, of the bucket's size. The codec compresses x = message + residual and fills `left` with
  // x - q. Both stay valid until the next begin().
  struct Input {
    at::Tensor residual;
    at::Tensor left;
    uint64_t step = 0;  // number of this exchange of the bucket, from 1 on
  };
  Input begin(int64_t bucket);
  // `left` is filled: becomes the state of the next step, once committed.
  void encoded(int64_t bucket, const at::Tensor& message);
  // `answer` holds mean q; becomes what the optimizer gets.
  void answered(int64_t bucket, at::Tensor answer);

  void commit();
  void rollback();
  void zero();
  double squared_norm() const;  // of what was not sent yet: e, or h for ef21

  void save(StateWriter& state) const;
  void load(const StateReader& state, bool own);  // as Residual's
  // More that this rank has not sent yet: of the bucket's elements, fp32.
  void add(int64_t bucket, const at::Tensor& owed);

  // The committed r (see above), in its storage type. For tests and `terse lab`.
  const at::Tensor& residual(int64_t bucket) const { return residual_.current(bucket); }

 private:
  struct Count {
    uint64_t current = 0;    // of the exchange under way
    uint64_t committed = 0;  // of the last that counted
  };
  template <typename F>
  void each(F f);

  FeedbackOptions options_;
  Residual residual_;                // r
  std::unique_ptr<Residual> error_;  // e, econtrol only
  std::unique_ptr<Residual> mean_;   // mean h
  std::vector<Count> counts_;        // by bucket
  at::Tensor wide_, left_;           // bf16 only: fp32 copies of the bucket at hand
};

}  // namespace terse
