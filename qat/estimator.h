// Estimators: which gradient passes a quantizer, as data that the kernels evaluate.
//
// With z the value that was quantized, zq its decoded value, step = |scale| (on fp4 the widest
// distance of levels, 2 |scale|) and S = |scale| * max |level| the reach of the grid (7 |scale|
// where it is dynamic: qat/grid.h), the gradient of z is the gradient of zq times
//   straight_through   1
//   clip(k)            |z| <= k S
//   trust(s)           |zq - z| <= s step / 2 (1 + 1e-6)       QuEST, arXiv 2502.05003, its default
//   lsq                least level <= z / step <= largest level, with a learned step (qat/lsq.h)
// all with the scale as stored (rounded), without a gradient through the statistics. The slack and
// the stored scale keep all-zero rows trusted, so that a projection that starts at zero learns.
#pragma once
#include <cstdint>
#include <string>

namespace terse {

struct Estimator {
  enum class Kind : uint8_t { straight_through, clip, trust, lsq };
  Kind kind = Kind::trust;
  float strength = 1.0f;  // k or s

  bool masks() const { return kind != Kind::straight_through; }
  bool operator==(const Estimator&) const = default;
};

// "straight_through", "clip", "trust" or "lsq", the second and third with an optional strength as
// in "clip(1.3)"; "bitnet" (qat/options.h) is straight_through. Empty: trust, at 1 bit clip, as in
// QuEST's runs. The strength of clip is 1 unless given, 1.3 at 1 bit. Error(usage) with the
// possible names.
Estimator parse_estimator(const std::string& text, int bits);
std::string to_string(const Estimator& estimator);

}  // namespace terse
