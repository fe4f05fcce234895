#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "comm/allocation/error_tables.h"
#include "comm/shared_random.h"

namespace terse {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Matrix = Eigen::MatrixXf;
using View = Eigen::Map<const RowMajor>;

// Norms whose inverse still is a normal fp32 number; below, no rank but the full one helps.
constexpr double kSmallest = 1e-37;

void orthonormalize(Matrix& y) {
  const Eigen::HouseholderQR<Matrix> qr(y);
  y = qr.householderQ() * Matrix::Identity(y.rows(), y.cols());
}

// Squared singular values of x / |x|, largest first, by its products with `width` directions of the
// shorter side. Scaled, so that no product underflows.
std::vector<double> squared_singular_values(const View& x, double norm, int64_t width,
                                            const LowRankOptions& options) {
  const bool tall = x.rows() >= x.cols();
  const auto scale = static_cast<float>(1 / norm);
  const auto times = [&](bool transposed, const Matrix& q) {
    Matrix y(transposed ? x.cols() : x.rows(), q.cols());
    if (transposed)
      y.noalias() = scale * (x.transpose() * q);
    else
      y.noalias() = scale * (x * q);
    return y;
  };
  Matrix q(std::min(x.rows(), x.cols()), width);
  for (Eigen::Index i = 0; i < q.size(); ++i)
    q.data()[i] = shared_uniform(options.seed, static_cast<uint64_t>(i));
  orthonormalize(q);
  for (int64_t i = 0; i < options.iterations; ++i) {
    q = times(tall, times(!tall, q));
    orthonormalize(q);
  }
  // Singular values of x q: eigenvalues of its small Gram matrix.
  const Eigen::MatrixXd y = times(!tall, q).cast<double>();
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> eigen(y.transpose() * y,
                                                             Eigen::EigenvaluesOnly);
  std::vector<double> values(eigen.eigenvalues().begin(), eigen.eigenvalues().end());
  std::reverse(values.begin(), values.end());
  return values;
}

}  // namespace

std::vector<double> low_rank_errors(std::span<const float> x, int64_t rows, int64_t columns,
                                    int64_t max_rank, const LowRankOptions& options) {
  TERSE_CHECK(rows * columns == static_cast<int64_t>(x.size()), "{} x {} of {} elements", rows,
              columns, x.size());
  TERSE_CHECK(max_rank >= 0 && options.oversampling >= 0, "rank {}", max_rank);
  const double whole = norm(x);
  std::vector<double> errors(static_cast<size_t>(max_rank) + 1, whole);
  const int64_t side = std::min(rows, columns);
  if (!std::isfinite(whole) || side == 0) return errors;
  std::vector<double> sigma2(static_cast<size_t>(side));
  if (max_rank > 0 && side > 1 && whole > kSmallest)
    sigma2 = squared_singular_values(View(x.data(), rows, columns), whole,
                                     std::min(side, max_rank + options.oversampling), options);
  double rest = 1;
  for (int64_t r = 1; r <= max_rank; ++r) {
    if (r < side) rest = std::max(0.0, rest - std::max(0.0, sigma2[static_cast<size_t>(r) - 1]));
    errors[static_cast<size_t>(r)] = r >= side ? 0 : whole * std::sqrt(rest);
  }
  return errors;
}

}  // namespace terse
