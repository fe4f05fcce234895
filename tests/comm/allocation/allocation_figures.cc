// What L-GreCo saves against a uniform parameter at the same error, on given gradients:
//
//   allocation_figures GRADIENTS.safetensors        (from tests/peers/lgreco_gradients.py)
//
// For each call in the file, family of codecs, reference and budget rule, one line: bytes of the
// uniform choice and of the solution, their ratio, the solution's error over the budget, and how
// the parameters spread. Vectors are dense on both sides. Bytes are what the real codec sends;
// low rank: fp32 factors, rank (rows + columns).
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>

#include "base/error.h"
#include "comm/allocation/costs.h"
#include "comm/allocation/error_tables.h"
#include "comm/codec/bits.h"
#include "comm/codec/topk.h"
#include "export/safetensors.h"

namespace terse {
namespace {

struct Matrix {
  std::string name;
  int64_t rows = 0, columns = 0;
  std::span<const float> x;
  double dense_bytes() const { return 4.0 * static_cast<double>(x.size()); }
};

struct Table {
  std::vector<double> errors, bytes;
};

struct Family {
  std::string name;
  std::vector<double> parameters;
  std::vector<double> references;
  double dense;  // the parameter that means dense
  std::function<Table(const Matrix&, std::span<const double>)> table;
};

Table density_table(const Matrix& m, std::span<const double> densities) {
  std::vector<int64_t> kept;
  for (const double d : densities) kept.push_back(topk_count(d, static_cast<int64_t>(m.x.size())));
  return {topk_errors(m.x, kept),
          codec_bytes(*make_topk_codec(), m.rows, m.columns, densities, m.x.data())};
}

Table rank_table(const Matrix& m, std::span<const double> ranks) {
  const auto all = low_rank_errors(m.x, m.rows, m.columns, static_cast<int64_t>(ranks.back()));
  Table t;
  for (const double r : ranks) {
    t.errors.push_back(all[static_cast<size_t>(r)]);
    t.bytes.push_back(4 * r * static_cast<double>(m.rows + m.columns));
  }
  return t;
}

Table bits_table(const Matrix& m, std::span<const double> bits) {
  const auto size = static_cast<int64_t>(m.x.size());
  const Bucket bucket{0, size, {{m.name, 0, size, m.rows, m.columns, true}}};
  const auto codec = make_bits_codec();
  return {codec_errors(*codec, bucket, bits, m.x.data())[0],
          codec_bytes(*codec, m.rows, m.columns, bits, m.x.data())};
}

std::vector<double> range(double from, double to, double factor) {
  std::vector<double> all{from};
  while (all.back() * factor < to * 1.0001) all.push_back(all.back() * factor);
  return all;
}

std::vector<double> integers(double from, double to) {
  std::vector<double> all{from};
  while (all.back() + 1 <= to) all.push_back(all.back() + 1);
  return all;
}

void print_solution(const std::string& label, const std::vector<AllocationSegment>& segments,
                    double vectors, BudgetRule rule) {
  const AllocationResult r = solve_allocation(segments, {.rule = rule});
  std::map<double, int> spread;
  for (size_t l = 0; l < segments.size(); ++l)
    ++spread[segments[l].choices[static_cast<size_t>(r.choice[l])].parameter];
  std::string text;
  for (const auto& [parameter, count] : spread) text += fmt::format(" {:.4g}:{}", parameter, count);
  fmt::print("{} {:>7}: {:>9.0f} -> {:>9.0f} bytes, ratio {:.3f}, error/budget {:.4f};{}\n", label,
             rule == BudgetRule::norms ? "norms" : "squares", r.reference_cost + vectors,
             r.cost + vectors, (r.reference_cost + vectors) / (r.cost + vectors),
             r.error / r.budget, text);
}

void run_family(const Family& family, const std::vector<Matrix>& matrices, double vectors,
                const std::string& call) {
  std::vector<AllocationSegment> segments;
  for (const Matrix& m : matrices) {
    const Table t = family.table(m, family.parameters);
    size_t i = 0;
    const auto next_bytes = [&](double) { return t.bytes[i++]; };
    segments.push_back(
        {make_choices(family.parameters, t.errors, next_bytes, family.dense, m.dense_bytes()), 0,
         -1});
  }
  for (const double reference : family.references) {
    const auto at = std::min_element(
        family.parameters.begin(), family.parameters.end(),
        [&](double a, double b) { return std::abs(a - reference) < std::abs(b - reference); });
    for (AllocationSegment& s : segments) s.reference = at - family.parameters.begin();
    const std::string label = fmt::format("call {} {} {:.4g}", call, family.name, *at);
    for (const BudgetRule rule : {BudgetRule::norms, BudgetRule::squares})
      print_solution(label, segments, vectors, rule);
  }
  std::fflush(stdout);
}

void run(const std::string& path) {
  const SafetensorsFile file(path);
  std::map<std::string, std::vector<Matrix>> calls;
  std::map<std::string, double> vectors;
  for (const std::string& name : file.names()) {
    const TensorView view = file.require(name);
    const size_t at = name.rfind('@');
    if (at == std::string::npos || view.dtype != DType::f32 || view.shape.size() != 2)
      fail(ExitCode::invalid_file, "{}: {} is no fp32 matrix NAME@CALL", path, name);
    const Matrix m{name.substr(0, at), view.shape[0], view.shape[1], view.as<float>()};
    if (m.rows > 1)
      calls[name.substr(at + 1)].push_back(m);
    else
      vectors[name.substr(at + 1)] += m.dense_bytes();
  }
  const std::vector<Family> families{
      {"density", range(1e-5, 0.1, std::pow(10, 0.25)), {0.001, 0.01}, 1, density_table},
      {"rank", integers(1, 32), {4, 8}, 0, rank_table},
      {"bits", integers(1, 8), {4, 8}, 32, bits_table},
  };
  for (const auto& [call, matrices] : calls)
    for (const Family& family : families) run_family(family, matrices, vectors[call], call);
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) try {
  if (argc != 2) {
    fmt::print(stderr, "usage: allocation_figures GRADIENTS.safetensors\n");
    return 2;
  }
  terse::run(argv[1]);
  return 0;
} catch (const std::exception& e) {
  fmt::print(stderr, "{}\n", e.what());
  return 1;
}
