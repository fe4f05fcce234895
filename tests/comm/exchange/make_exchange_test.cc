// What make_exchange() refuses before any rank or device is touched.
#include "comm/make_exchange.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace terse {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string refusal(const ExchangeOptions& options, at::Device device) {
  try {
    make_exchange(Group(), options, device);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    return error.what();
  }
  return "";
}

// Whatever the family: bits would find kernels, but the tables are made on the CPU.
TEST(MakeExchange, LgrecoRefusesGpus) {
  for (const char* family : {"bits", "topk", "lowrank"}) {
    const ExchangeOptions options{.codec = "lgreco", .family = family};
    EXPECT_THAT(refusal(options, at::Device(at::kCUDA, 0)),
                AllOf(HasSubstr("codec = \"lgreco\""), HasSubstr("CPU tensors only"),
                      HasSubstr("device = \"cpu\"")))
        << family;
    EXPECT_EQ(refusal(options, at::kCPU), "") << family;
  }
}

// Between 2 nodes of 4 ranks a density pays as between 2 ranks.
TEST(MakeExchange, BreakEvenCountsNodes) {
  ExchangeOptions options{.codec = "topk", .sparse = "gather"};
  const double flat = sparse_break_even(options, 8);
  EXPECT_EQ(sparse_break_even(options, 8, 4), flat);
  options.hierarchy = true;
  EXPECT_EQ(sparse_break_even(options, 8, 4), sparse_break_even(options, 2));
  EXPECT_NE(sparse_break_even(options, 2), flat);
  EXPECT_EQ(sparse_break_even(options, 8, 8), flat);  // one node
}

}  // namespace
}  // namespace terse
