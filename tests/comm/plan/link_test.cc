#include "comm/plan/link.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace terse::testing {
namespace {

TEST(Link, ACollectiveIsDelayAndWire) {
  const Link link{.latency = 1e-3, .per_message = 1e-4, .bytes_per_second = 1e6};
  EXPECT_DOUBLE_EQ(wire_seconds(link, {7, 5000}), 5e-3);
  EXPECT_DOUBLE_EQ(delay_seconds(link, {7, 5000}), 1e-3 + 6e-4);
  EXPECT_EQ(delay_seconds(link, {0, 0}), 0);
}

TEST(Link, IsNoFasterThanTheCoreThatServesIt) {
  const Link link{
      .latency = 0, .per_message = 0, .bytes_per_second = 1e12, .core_seconds_per_byte = 1e-9};
  EXPECT_DOUBLE_EQ(wire_seconds(link, {1, 1000}), 1e-6);
}

TEST(Link, RatesAreTheWires) {
  EXPECT_DOUBLE_EQ(parse_link_rate("100Mbit"), 12.5e6 * kPayload);
  EXPECT_DOUBLE_EQ(parse_link_rate("2.5Gbps"), 312.5e6 * kPayload);
  EXPECT_DOUBLE_EQ(parse_link_rate("10GB/s"), 1e10 * kPayload);
  EXPECT_EQ(rate_text(parse_link_rate("100Mbit")), "100 Mbit/s");
  EXPECT_EQ(rate_text(parse_link_rate("2500Mbit")), "2.5 Gbit/s");
}

TEST(Link, Durations) {
  EXPECT_DOUBLE_EQ(parse_duration("50us"), 50e-6);
  EXPECT_DOUBLE_EQ(parse_duration("0.2s"), 0.2);
  EXPECT_DOUBLE_EQ(parse_duration("0ms"), 0);
  EXPECT_EQ(duration_text(0.0456), "45.6 ms");
  EXPECT_EQ(duration_text(1.234), "1.23 s");
}

void refuses(std::string_view text, double (*parse)(std::string_view)) {
  try {
    parse(text);
    ADD_FAILURE() << text << " was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
  }
}

TEST(Link, RefusesWhatIsNoQuantity) {
  for (const char* text :
       {"", "fast", "100", "Mbit", "-1Mbit", "0Mbit", "nanMbit", "100Mbyte", "1e400Gbit"})
    refuses(text, parse_link_rate);
  for (const char* text : {"", "50", "us", "-1ms", "1h", "infs"}) refuses(text, parse_duration);
}

}  // namespace
}  // namespace terse::testing
