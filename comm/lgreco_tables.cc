#include "comm/lgreco_tables.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "comm/allocation/error_tables.h"
#include "comm/codec/topk.h"

namespace terse {
namespace {

LgrecoFamily family_of(std::vector<double> parameters, double reference,
                       std::shared_ptr<const Codec> codec) {
  parameters.push_back(reference);
  std::sort(parameters.begin(), parameters.end());
  parameters.erase(std::unique(parameters.begin(), parameters.end()), parameters.end());
  return {std::move(parameters), reference, std::move(codec)};
}

// One row: `x` is what was to be compressed of `part`, a bucket of one segment.
void fill_row(const LgrecoFamily& family, const Bucket& part, const float* x, double* errors,
              double* bytes) {
  const Segment& s = part.segments.front();
  const auto n = static_cast<size_t>(family.choices());
  const std::vector<double>& parameters = family.parameters;
  if (!family.codec) {
    const auto most = std::min({static_cast<int64_t>(parameters.back()), s.rows, s.columns});
    const auto by_rank = low_rank_errors({x, static_cast<size_t>(s.size)}, s.rows, s.columns, most);
    for (size_t c = 0; c < parameters.size(); ++c) {
      const auto rank = std::min(static_cast<int64_t>(parameters[c]), most);
      errors[c] = by_rank[static_cast<size_t>(rank)];
      bytes[c] = static_cast<double>(8 * rank * (s.rows + s.columns));
    }
    bytes[n - 1] = static_cast<double>(8 * s.size);
  } else {
    const auto lost = codec_errors(*family.codec, part, parameters, x);
    const auto sizes = codec_bytes(*family.codec, s.rows, s.columns, parameters, x);
    std::copy(lost[0].begin(), lost[0].end(), errors);
    std::copy(sizes.begin(), sizes.end(), bytes);
    bytes[n - 1] = static_cast<double>(4 * s.size);
  }
  errors[n - 1] = 0;
  for (size_t c = 0; c < n; ++c) errors[c] *= errors[c];
}

}  // namespace

LgrecoFamily lgreco_bits(int64_t reference, std::shared_ptr<const Codec> codec) {
  return family_of({1, 2, 3, 4, 5, 6, 7, 8}, static_cast<double>(reference), std::move(codec));
}

// A quarter to eight times the reference.
LgrecoFamily lgreco_topk(double reference, std::shared_ptr<const Codec> codec) {
  std::vector<double> densities;
  for (const double factor : {0.125, 0.25, 0.35, 0.5, 0.7, 1.4, 2.0, 4.0, 8.0})
    densities.push_back(std::min(0.5, reference * factor));
  return family_of(std::move(densities), reference, std::move(codec));
}

LgrecoFamily lgreco_low_rank(int64_t reference) {
  std::vector<double> ranks;
  for (const double factor : {0.25, 0.5, 0.75, 1.5, 2.0, 3.0, 4.0})
    ranks.push_back(std::max(1.0, std::round(static_cast<double>(reference) * factor)));
  return family_of(std::move(ranks), static_cast<double>(reference), nullptr);
}

int64_t LgrecoFamily::reference_index() const {
  return std::find(parameters.begin(), parameters.end(), reference) - parameters.begin();
}

// As bind() and set_parameters() take it.
double LgrecoFamily::parameter(int64_t choice) const {
  if (choice + 1 < choices()) return parameters[static_cast<size_t>(choice)];
  if (!codec) return 0;                             // rank
  return codec->id() == CodecId::topk ? 1.0 : 8.0;  // density; bits have no whole
}

bool LgrecoFamily::whole_loses() const {
  return codec && codec->id() != CodecId::topk;
}

LgrecoTables make_lgreco_tables(const LgrecoFamily& family, const BucketPlan& plan,
                                std::span<const Range> observed, std::span<const LgrecoItem> items,
                                const std::vector<at::Tensor>& sums) {
  const auto n = static_cast<size_t>(family.choices());
  LgrecoTables tables;
  tables.squared_errors.resize(items.size() * n);
  tables.bytes.resize(tables.squared_errors.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const LgrecoItem& item = items[i];
    const auto b = static_cast<size_t>(item.bucket);
    tables.elements.push_back(static_cast<double>(item.here.size()));
    if (item.here.size() == 0) continue;
    const float* x = sums[b].const_data_ptr<float>() + item.here.begin - observed[b].begin;
    fill_row(family, slice_bucket(plan.buckets[b], item.here), x,
             tables.squared_errors.data() + i * n, tables.bytes.data() + i * n);
  }
  return tables;
}

LgrecoTables averaged(Group& group, const BucketPlan& plan, std::span<const LgrecoItem> items,
                      const LgrecoTables& own) {
  LgrecoTables mean = own;
  const auto add_up = [&](std::vector<double>& values) {
    const auto parts = group.all_gather_bytes(std::as_bytes(std::span(values)), "L-GreCo tables");
    std::fill(values.begin(), values.end(), 0.0);
    for (const auto& part : parts) {
      std::vector<double> theirs(values.size());
      if (part.size() != values.size() * sizeof(double))
        fail(ExitCode::disagree, "L-GreCo: a rank's tables have {} bytes, this one's {}",
             part.size(), values.size() * sizeof(double));
      std::memcpy(theirs.data(), part.data(), part.size());
      for (size_t i = 0; i < values.size(); ++i) values[i] += theirs[i];
    }
  };
  add_up(mean.squared_errors);
  add_up(mean.bytes);
  add_up(mean.elements);
  const size_t n = items.empty() ? 0 : mean.bytes.size() / items.size();
  for (size_t i = 0; i < items.size(); ++i) {
    const Bucket& bucket = plan.buckets[static_cast<size_t>(items[i].bucket)];
    // Every rank, or every node, has compressed the matrix once.
    const double times =
        mean.elements[i] / static_cast<double>(bucket.segments[items[i].segment].size);
    for (size_t c = 0; c < n; ++c) {
      mean.squared_errors[i * n + c] /= times;
      mean.bytes[i * n + c] /= times;
    }
  }
  return mean;
}

}  // namespace terse
