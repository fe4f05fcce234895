// Errors of low-rank approximations against Eigen's full singular value decomposition.
#include <gtest/gtest.h>

#include <Eigen/SVD>
#include <cmath>
#include <limits>

#include "comm/allocation/error_tables.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {
namespace {

using Matrix = Eigen::MatrixXd;
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Matrix random_matrix(int64_t rows, int64_t columns, uint64_t seed) {
  const auto v = values(rows * columns, seed);
  return Eigen::Map<const RowMajor>(v.data(), rows, columns).cast<double>();
}

// A matrix with singular values i^-power, as gradients have: a few large ones and a long tail.
std::vector<float> with_spectrum(int64_t rows, int64_t columns, double power) {
  const int64_t side = std::min(rows, columns);
  const Matrix u = Eigen::HouseholderQR<Matrix>(random_matrix(rows, side, 1)).householderQ() *
                   Matrix::Identity(rows, side);
  const Matrix v = Eigen::HouseholderQR<Matrix>(random_matrix(columns, side, 2)).householderQ() *
                   Matrix::Identity(columns, side);
  Eigen::VectorXd sigma(side);
  for (int64_t i = 0; i < side; ++i) sigma[i] = std::pow(static_cast<double>(i + 1), -power);
  const RowMajor x = (u * sigma.asDiagonal() * v.transpose()).cast<float>();
  return {x.data(), x.data() + x.size()};
}

std::vector<double> exact_errors(const std::vector<float>& x, int64_t rows, int64_t columns,
                                 int64_t max_rank) {
  const Matrix m = Eigen::Map<const RowMajor>(x.data(), rows, columns).cast<double>();
  const Eigen::VectorXd sigma = Eigen::BDCSVD<Matrix>(m).singularValues();
  std::vector<double> errors;
  for (int64_t r = 0; r <= max_rank; ++r)
    errors.push_back(r >= sigma.size() ? 0 : sigma.tail(sigma.size() - r).norm());
  return errors;
}

void expect_near(const std::vector<double>& got, const std::vector<double>& exact,
                 double relative) {
  ASSERT_EQ(got.size(), exact.size());
  for (size_t r = 0; r < got.size(); ++r)
    // fp32 products in a difference of squares: 1e-3 of the whole.
    EXPECT_NEAR(got[r], exact[r], relative * exact[r] + 1e-3 * exact[0]) << "rank " << r;
}

TEST(LowRankErrors, EqualTheDecompositionWhereTheRangeIsWhole) {
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{7, 5}, {5, 7}, {20, 20}, {64, 3}}) {
    const auto x = with_spectrum(rows, columns, 0.7);
    expect_near(low_rank_errors(x, rows, columns, 20, {.oversampling = 20}),
                exact_errors(x, rows, columns, 20), 1e-5);
  }
}

TEST(LowRankErrors, AreWithinAPercentOnSlowSpectra) {
  // Half the power of a matrix with sigma_i = 1 / sqrt(i) lies beyond rank 10: the hard case.
  for (const double power : {0.5, 1.0, 2.0})
    for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{300, 120}, {120, 300}}) {
      const auto x = with_spectrum(rows, columns, power);
      expect_near(low_rank_errors(x, rows, columns, 16), exact_errors(x, rows, columns, 16), 0.01);
    }
}

TEST(LowRankErrors, DoNotDependOnTheScale) {
  auto x = with_spectrum(40, 30, 1);
  const auto plain = low_rank_errors(x, 40, 30, 8);
  for (float& v : x) v *= 0x1p-70f;
  const auto small = low_rank_errors(x, 40, 30, 8);
  for (size_t r = 0; r < plain.size(); ++r)
    EXPECT_NEAR(small[r] * 0x1p70, plain[r], 1e-6 * plain[0]) << r;
}

TEST(LowRankErrors, OfVectorsZerosAndWhatIsNotFinite) {
  const std::vector<float> vector{3, 4};
  EXPECT_EQ(low_rank_errors(vector, 1, 2, 2), (std::vector<double>{5, 0, 0}));
  EXPECT_EQ(low_rank_errors(vector, 2, 1, 1), (std::vector<double>{5, 0}));
  EXPECT_EQ(low_rank_errors({}, 0, 5, 1), (std::vector<double>{0, 0}));
  EXPECT_EQ(low_rank_errors(std::vector<float>(12), 3, 4, 2), (std::vector<double>{0, 0, 0}));
  auto x = values(12, 1);
  x[3] = std::numeric_limits<float>::quiet_NaN();
  for (const double e : low_rank_errors(x, 3, 4, 4)) EXPECT_TRUE(std::isinf(e));
  // Too small for fp32 products: no help from any rank but the full one.
  const auto tiny = low_rank_errors(std::vector<float>(12, 1e-44f), 3, 4, 3);
  EXPECT_EQ(tiny[2], tiny[0]);
  EXPECT_EQ(tiny[3], 0);
  EXPECT_THROW(low_rank_errors(vector, 2, 2, 1), std::logic_error);
}

}  // namespace
}  // namespace terse::testing
