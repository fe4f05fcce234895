// The two scales of the 1-bit codec: what one call loses, and what error feedback leaves behind.
// The figures are those of `comm/codec/onebit.h` and of the table that led to its default.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numbers>

#include "comm/codec/onebit.h"
#include "comm/shared_random.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

// (0, 1), number i of a stream.
double unit(uint64_t stream, uint64_t i) {
  return (static_cast<double>(scatter(i + (stream << 32)) >> 11) + 0.5) * 0x1p-53;
}

// Box and Muller's.
double normal(uint64_t i) {
  return std::sqrt(-2 * std::log(unit(2, i))) * std::cos(2 * std::numbers::pi * unit(3, i));
}

std::vector<float> filled(int64_t n, const std::function<double(uint64_t)>& value) {
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(value(i));
  return x;
}

std::vector<float> gaussian(int64_t n) {
  return filled(n, normal);
}

std::vector<float> sparse(int64_t n) {
  return filled(n, [](uint64_t i) { return unit(1001, i) < 0.01 ? normal(i) : 0.0; });
}

// The n quantiles of Student's t with 2 degrees of freedom, whose variance is infinite: a random
// sample's mean square would be anything.
std::vector<float> student(int64_t n) {
  return filled(n, [n](uint64_t i) {
    const double u = (static_cast<double>(i) + 0.5) / static_cast<double>(n);
    return (2 * u - 1) / std::sqrt(2 * u * (1 - u));
  });
}

double norm(const std::vector<float>& x) {
  double sum = 0;
  for (const float v : x) sum += static_cast<double>(v) * static_cast<double>(v);
  return std::sqrt(sum);
}

// |x - C(x)| / |x| of either scale, written out: with a = |x|_1 / n the sum of (|x_i| - a)^2, with
// a = |x|_2 / sqrt(n) the same. delta = |x|_1^2 / (n |x|_2^2).
double lost_by_formula(double delta, ScaleKind scale) {
  return std::sqrt(scale == ScaleKind::l1 ? 1 - delta : 2 - 2 * std::sqrt(delta));
}

double delta_of(const std::vector<float>& x) {
  double one = 0;
  for (const float v : x) one += std::abs(static_cast<double>(v));
  return std::pow(one / norm(x), 2) / static_cast<double>(x.size());
}

double lost(const std::vector<float>& x, ScaleKind scale) {
  const Bucket bucket = make_bucket({static_cast<int64_t>(x.size())});
  const std::vector<float> zero(x.size(), 0.0f);
  const Result got = run(*make_onebit_codec({.scale = scale}), bucket, 1, x, zero);
  return norm(got.shadow) / norm(x);
}

// One standard deviation of a sample's delta, relative: the delta method for the ratio of
// (mean |x|)^2 and mean x^2, from the sample's own moments.
double spread_of_delta(const std::vector<float>& x) {
  double m[5] = {};
  for (const float v : x)
    for (int k = 1; k <= 4; ++k)
      m[k] += std::pow(std::abs(static_cast<double>(v)), k) / static_cast<double>(x.size());
  const double first = 4 * (m[2] - m[1] * m[1]) / (m[1] * m[1]);
  const double second = (m[4] - m[2] * m[2]) / (m[2] * m[2]);
  const double both = 4 * (m[3] - m[1] * m[2]) / (m[1] * m[2]);
  return std::sqrt((first + second - both) / static_cast<double>(x.size()));
}

void expect_lost(const std::vector<float>& x, double l1, double rms, double delta_spread) {
  const double delta = delta_of(x);
  for (const ScaleKind scale : {ScaleKind::l1, ScaleKind::rms}) {
    SCOPED_TRACE(scale == ScaleKind::l1 ? "l1" : "rms");
    const double got = lost(x, scale);
    EXPECT_NEAR(got, lost_by_formula(delta, scale), 1e-5);  // fp32 rounding of scale and residual
    // How far the formula moves with delta, plus the half unit of three printed digits.
    const double moved = std::abs(lost_by_formula(delta * (1 + delta_spread), scale) -
                                  lost_by_formula(delta * (1 - delta_spread), scale)) /
                         2;
    EXPECT_NEAR(got, scale == ScaleKind::l1 ? l1 : rms, moved + 5e-4);
  }
}

TEST(OneBitScales, OneCallLosesAsMuchAsPublished) {
  const auto gauss = gaussian(1 << 18), few = sparse(1 << 18);
  {
    SCOPED_TRACE("gaussian");
    expect_lost(gauss, 0.603, 0.635, 5 * spread_of_delta(gauss));
  }
  {
    SCOPED_TRACE("1 % sparse");
    expect_lost(few, 0.997, 1.357, 5 * spread_of_delta(few));
  }
  // The mean square of n quantiles is ln n; that of n random numbers spreads around it by a stable
  // law of scale pi / 2, which is 16 % at this n, where ln n is what the published losses say.
  SCOPED_TRACE("Student");
  expect_lost(student(1 << 14), 0.891, 1.044, std::numbers::pi / 2 / std::log(1 << 14));
}

// l1 is a contraction whatever x is; rms lets heavy tails grow, which is why both exist.
TEST(OneBitScales, OnlyTheMeanMagnitudeIsAContraction) {
  for (const auto& x : {student(1 << 14), sparse(1 << 14)}) {
    EXPECT_LT(lost(x, ScaleKind::l1), 1);
    EXPECT_GT(lost(x, ScaleKind::rms), 1);
  }
}

// e' = e + g - C(e + g) for a constant g, in fp64.
class Reference {
 public:
  Reference(const std::vector<float>& g, ScaleKind scale)
      : g_(g.begin(), g.end()), e_(g.size(), 0.0), scale_(scale) {}
  double step() {  // |e|
    const auto n = static_cast<double>(g_.size());
    double sum = 0, left = 0;
    for (size_t i = 0; i < g_.size(); ++i) {
      e_[i] += g_[i];
      sum += scale_ == ScaleKind::l1 ? std::abs(e_[i]) : e_[i] * e_[i];
    }
    const double a = scale_ == ScaleKind::l1 ? sum / n : std::sqrt(sum / n);
    for (double& x : e_) {
      x -= x >= 0 ? a : -a;
      left += x * x;
    }
    return std::sqrt(left);
  }

 private:
  std::vector<double> g_, e_;
  ScaleKind scale_;
};

struct Growth {
  double half = 0, whole = 0;  // |e| / |g| after 200 and 400 steps
};

// The codec's own error feedback beside the reference. Every residual is what the formula of one
// call makes of the one before: there is no other source of growth.
Growth grown(const std::vector<float>& g, ScaleKind scale) {
  const Bucket bucket = make_bucket({static_cast<int64_t>(g.size())});
  const auto bound = make_onebit_codec({.scale = scale})->bind(bucket, chunks(bucket.size, 1), {});
  Messages messages(*bound);
  std::vector<float> e(g.size(), 0.0f), next(g.size()), x(g.size());
  Reference reference(g, scale);
  Growth growth;
  const double length = norm(g);
  for (int t = 1; t <= 400; ++t) {
    bound->encode(kTag, {.message = g.data(), .residual = e.data(), .shadow = next.data()},
                  messages.rooms, messages.used);
    const double wanted = reference.step(), left = norm(next);
    // A sign that rounding turned moves one element by two scales, of which |e|^2 sees next to
    // nothing: in numpy's fp32 the norms of 400 steps are 1e-4 from fp64's at most.
    EXPECT_NEAR(left, wanted, 1e-3 * wanted) << "step " << t;
    if (t % 50 == 0) {
      for (size_t i = 0; i < x.size(); ++i) x[i] = e[i] + g[i];
      EXPECT_NEAR(left, norm(x) * lost_by_formula(delta_of(x), scale), 1e-5 * norm(x)) << t;
    }
    if (t == 200) growth.half = left / length;
    std::swap(e, next);
  }
  growth.whole = norm(e) / length;
  return growth;
}

// 17.6 (l1) and 3.8 (rms) times a gaussian vector, 158 and 28 times a sparse one, are what 400
// steps leave. Bands: 3 sqrt(2) standard deviations, of ours and of the published sample, as
// numpy has them over eight samples of this length: 0.5, 0.2, 9 and 3.2. rms has settled by then
// (at most 1.17 times the residual of 200 steps); l1 still grows as the square root of the steps
// (at most 1.53): in proportion to them, 2, would mean that nothing large is ever drained.
TEST(OneBitScales, ResidualsUnderFeedbackAreThePublishedOnesAndBounded) {
  struct Case {
    const char* name;
    std::vector<float> g;
    ScaleKind scale;
    double published, band, growth;
  };
  constexpr int64_t kSize = 1 << 15;
  for (const Case& c : {Case{"gaussian l1", gaussian(kSize), ScaleKind::l1, 17.6, 2.1, 1.7},
                        Case{"gaussian rms", gaussian(kSize), ScaleKind::rms, 3.8, 0.85, 1.3},
                        Case{"sparse l1", sparse(kSize), ScaleKind::l1, 158, 38, 1.7},
                        Case{"sparse rms", sparse(kSize), ScaleKind::rms, 28, 13.6, 1.3}}) {
    SCOPED_TRACE(c.name);
    const Growth growth = grown(c.g, c.scale);
    EXPECT_NEAR(growth.whole, c.published, c.band);
    EXPECT_LT(growth.whole, c.growth * growth.half);
  }
}

}  // namespace
}  // namespace terse::testing
