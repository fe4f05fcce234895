// What a choice costs, in bytes or in seconds, and what an allocation saves against the uniform
// one.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "comm/allocation/allocation.h"

namespace terse {

// Predicted seconds that a segment adds to a step, from what was measured:
//
//   exposure (latency + bytes / bytes_per_second) + elements codec_seconds
//
// Transfers hide behind backward but for their exposed part; the codec's time is always counted: on
// a CPU it takes the cores that backward uses.
struct TimeModel {
  double latency = 0;  // seconds of a segment's own; 0 where segments share a bucket's message
  double bytes_per_second = 0;  // > 0; of one rank's sending, in the exchange's pattern
};

// codec_seconds: per element, of encode and decode together. exposure in [0, 1]: 0 = entirely
// hidden behind backward, 1 = the segments sent last. std::logic_error outside these ranges.
double segment_seconds(const TimeModel& model, double bytes, int64_t elements, double codec_seconds,
                       double exposure);

// Choices of one segment: parameter i with errors[i] and cost(parameter i), then dense with error 0
// and `dense_cost` under the parameter `dense_parameter`.
std::vector<Choice> make_choices(std::span<const double> parameters, std::span<const double> errors,
                                 const std::function<double(double)>& cost, double dense_parameter,
                                 double dense_cost);

// The same allocation in bytes, for reports.
struct UniformComparison {
  double uniform_bytes = 0;
  double bytes = 0;
  double ratio = 1;          // uniform_bytes / bytes: times fewer; 1 if both are 0
  double uniform_error = 0;  // sums of norms
  double error = 0;
  double uniform_error2 = 0;  // sums of squared norms
  double error2 = 0;
};

// bytes[l][c]: wire bytes of choice c of segment l, whatever unit the costs have.
UniformComparison compare_with_uniform(std::span<const AllocationSegment> segments,
                                       std::span<const std::vector<double>> bytes,
                                       std::span<const int64_t> choice);

}  // namespace terse
