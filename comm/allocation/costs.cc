#include "comm/allocation/costs.h"

#include "base/error.h"

namespace terse {

double segment_seconds(const TimeModel& model, double bytes, int64_t elements, double codec_seconds,
                       double exposure) {
  TERSE_CHECK(model.bytes_per_second > 0 && model.latency >= 0, "{} bytes/s, latency {}",
              model.bytes_per_second, model.latency);
  TERSE_CHECK(exposure >= 0 && exposure <= 1 && codec_seconds >= 0 && bytes >= 0 && elements >= 0,
              "exposure {}, codec {} s, {} bytes, {} elements", exposure, codec_seconds, bytes,
              elements);
  return exposure * (model.latency + bytes / model.bytes_per_second) +
         static_cast<double>(elements) * codec_seconds;
}

std::vector<Choice> make_choices(std::span<const double> parameters, std::span<const double> errors,
                                 const std::function<double(double)>& cost, double dense_parameter,
                                 double dense_cost) {
  TERSE_CHECK(parameters.size() == errors.size(), "{} parameters, {} errors", parameters.size(),
              errors.size());
  std::vector<Choice> choices;
  for (size_t i = 0; i < parameters.size(); ++i)
    choices.push_back({parameters[i], cost(parameters[i]), errors[i]});
  choices.push_back({dense_parameter, dense_cost, 0});
  return choices;
}

UniformComparison compare_with_uniform(std::span<const AllocationSegment> segments,
                                       std::span<const std::vector<double>> bytes,
                                       std::span<const int64_t> choice) {
  TERSE_CHECK(bytes.size() == segments.size() && choice.size() == segments.size(),
              "{} segments, bytes of {}, choices of {}", segments.size(), bytes.size(),
              choice.size());
  UniformComparison sum;
  for (size_t l = 0; l < segments.size(); ++l) {
    const auto uniform = static_cast<size_t>(segments[l].reference);
    const auto chosen = static_cast<size_t>(choice[l]);
    const double before = segments[l].choices.at(uniform).error;
    const double after = segments[l].choices.at(chosen).error;
    sum.uniform_bytes += bytes[l].at(uniform);
    sum.bytes += bytes[l].at(chosen);
    sum.uniform_error += before;
    sum.error += after;
    sum.uniform_error2 += before * before;
    sum.error2 += after * after;
  }
  sum.ratio = sum.bytes > 0 ? sum.uniform_bytes / sum.bytes : 1;
  return sum;
}

}  // namespace terse
