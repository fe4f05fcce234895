// Every codec, for the tests of what all have in common. A new codec is a line here.
#pragma once
#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "comm/codec/bits.h"
#include "comm/codec/dense_codec.h"
#include "comm/codec/onebit.h"
#include "comm/codec/topk.h"
#include "tests/comm/codec/buckets.h"

namespace terse::testing {

struct CodecCase {
  std::string name;
  std::function<std::unique_ptr<Codec>(bool checksum)> make;
  double parameter = 0;  // of every segment; 0: the codec's own option

  std::vector<double> parameters(const Bucket& bucket) const {
    return std::vector<double>(parameter == 0 ? 0 : bucket.segments.size(), parameter);
  }
};

inline std::ostream& operator<<(std::ostream& out, const CodecCase& c) {
  return out << c.name;
}

inline std::string case_name(const ::testing::TestParamInfo<CodecCase>& info) {
  return info.param.name;
}

inline CodecCase bits_case(const std::string& name, BitsOptions options) {
  return {name, [options](bool checksum) mutable {
            options.checksum = checksum;
            return make_bits_codec(options);
          }};
}

inline CodecCase onebit_case(const std::string& name, OneBitOptions options) {
  return {name, [options](bool checksum) mutable {
            options.checksum = checksum;
            return make_onebit_codec(options);
          }};
}

inline CodecCase topk_case(const std::string& name, TopKOptions options) {
  return {name,
          [options](bool checksum) mutable {
            options.checksum = checksum;
            return make_topk_codec(options);
          },
          options.density};
}

inline std::vector<CodecCase> codec_cases() {
  using Scaling = BitsOptions::Scaling;
  using Rounding = BitsOptions::Rounding;
  return {
      {"fp32", [](bool) { return make_dense_codec(CodecId::fp32); }},
      {"bf16", [](bool) { return make_dense_codec(CodecId::bf16); }},
      onebit_case("onebit", {}),
      onebit_case("onebit_l1_block", {.scale = ScaleKind::l1, .block = 4096}),
      bits_case("bits4", {}),
      bits_case("bits3_stochastic",
                {.bits = 3, .rounding = Rounding::stochastic, .block = 128, .seed = 5}),
      bits_case("bits5_norm", {.bits = 5, .scaling = Scaling::norm, .block = 4096}),
      bits_case(
          "bits8_norm_layer",
          {.bits = 8, .scaling = Scaling::norm, .rounding = Rounding::stochastic, .block = 0}),
      bits_case("bits1", {.bits = 1, .block = 64}),
      topk_case("topk", {.density = 0.01}),
      topk_case("topk_bitmap", {.density = 0.2, .bf16_values = true}),
  };
}

}  // namespace terse::testing
