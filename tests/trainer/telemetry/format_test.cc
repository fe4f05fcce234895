#include "trainer/telemetry/format.h"

#include <gtest/gtest.h>

#include <limits>

namespace terse {
namespace {

TEST(Format, Bytes) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(812), "812 B");
  EXPECT_EQ(format_bytes(999.6), "1.00 kB");
  EXPECT_EQ(format_bytes(1.53e6), "1.53 MB");
  EXPECT_EQ(format_bytes(27276288), "27.3 MB");
  EXPECT_EQ(format_bytes(999.7e6), "1.00 GB");
  EXPECT_EQ(format_bytes(123e9), "123 GB");
}

TEST(Format, Counts) {
  EXPECT_EQ(format_count(987), "987");
  EXPECT_EQ(format_count(41234), "41.2k");
  EXPECT_EQ(format_count(6819072), "6.82M");
  EXPECT_EQ(format_count(1.2e9), "1.20G");
}

TEST(Format, Seconds) {
  EXPECT_EQ(format_seconds(0.183), "183 ms");
  EXPECT_EQ(format_seconds(12.44), "12.4 s");
  EXPECT_EQ(format_seconds(59.99), "1m00s");
  EXPECT_EQ(format_seconds(344), "5m44s");
  EXPECT_EQ(format_seconds(7380), "2h03m");
  EXPECT_EQ(format_seconds(273600), "3d04h");
  EXPECT_EQ(format_seconds(-1), "-");
}

TEST(Format, NumbersAndFactors) {
  EXPECT_EQ(format_number(0), "0");
  EXPECT_EQ(format_number(0.9134), "0.9134");
  EXPECT_EQ(format_number(1e-5), "1.00e-05");
  EXPECT_EQ(format_factor(31.37), "x31.4");
  EXPECT_EQ(format_factor(106.2), "x106");
  EXPECT_EQ(format_factor(1), "x1.00");
  EXPECT_EQ(format_loss(2.83112), "2.8311");
  EXPECT_EQ(format_loss(std::numeric_limits<double>::quiet_NaN()), "nan");
  EXPECT_EQ(format_perplexity(28.0914), "28.091");
}

TEST(Format, ShortenKeepsBothEnds) {
  EXPECT_EQ(shorten("abc", 5), "abc");
  EXPECT_EQ(shorten("abcdefghij", 6), "ab..ij");
  EXPECT_EQ(shorten("abcdefghij", 7), "ab..hij");
}

}  // namespace
}  // namespace terse
