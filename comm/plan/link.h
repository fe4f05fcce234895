// Link: what carries a rank's messages, as the cost model sees it (the alpha-beta model of
// Hockney, Parallel Computing 20:3, 1994, with a term for each message as in LogP).
//
// One collective in which a rank sends `messages` messages of `bytes` bytes together takes
//
//   latency + (messages - 1) per_message + bytes / bytes_per_second
//
// The last term occupies the rank's wire, so collectives under way at once queue up there; the
// first two do not. On N ranks all_to_all and all_gather both send N - 1 messages: the terms beside
// the bytes grow as (N - 1) per_message. Units: seconds, bytes. Pure functions. Free of torch.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace terse {

struct Link {
  double latency = 50e-6;         // of a collective between two ranks, beyond its bytes
  double per_message = 10e-6;     // of each message after the first
  double bytes_per_second = 1e9;  // payload; of one rank's sending, while it receives as much
  // Of one core, while a byte is sent and another received: what the transport's thread and the
  // kernel take from whoever computes meanwhile. That thread is one: no link is faster than it.
  double core_seconds_per_byte = 0;
};

// What one rank sends in one collective.
struct Transfer {
  int64_t messages = 0;
  int64_t bytes = 0;
};

double seconds_per_byte(const Link& link);
double wire_seconds(const Link& link, const Transfer& transfer);
double delay_seconds(const Link& link, const Transfer& transfer);  // the terms beside the bytes

// TCP's payload of an Ethernet frame: 1,448 of 1,514 bytes.
inline constexpr double kPayload = 1448.0 / 1514.0;

// "100Mbit", "2.5Gbit", "1Gbps", "10GB/s": bits (or bytes) a second of the wire, in powers of ten;
// the payload's bytes a second, kPayload of it. "50us", "1ms", "0.2s": seconds. Error(usage) says
// what is wrong with the text and shows one that is right.
double parse_link_rate(std::string_view text);
double parse_duration(std::string_view text);
std::string rate_text(double bytes_per_second);  // "100 Mbit/s": of the wire, as parse_link_rate
std::string duration_text(double seconds);       // "1.23 s", "45.6 ms", "7.8 us"

}  // namespace terse
