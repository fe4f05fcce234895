#include "comm/exchange_options.h"

#include <algorithm>
#include <bit>
#include <initializer_list>
#include <string_view>

namespace terse {
namespace {

// A key that was set although nothing reads it would promise something.
class Owners {
 public:
  Owners(Keys& keys, const ExchangeOptions& options) : keys_(keys), codec_(options.worker()) {
    used_ = {codec_};
    if (options.codec != "auto") return;
    const std::vector<std::string> by_optimizer = {"fp32", "bf16", "onebit", "bits", "topk"};
    const auto& more = options.candidates.empty() ? by_optimizer : options.candidates;
    used_.insert(used_.end(), more.begin(), more.end());
  }

  bool uses(std::string_view codec) const {
    return std::find(used_.begin(), used_.end(), codec) != used_.end();
  }

  void check(const char* key, bool set, std::initializer_list<std::string_view> codecs) {
    if (!set || std::any_of(codecs.begin(), codecs.end(), [&](auto c) { return uses(c); })) return;
    std::string names;
    for (const std::string_view name : codecs)
      names += (names.empty() ? "" : ", ") + std::string(name);
    keys_.problem(key, "has no effect with codec = \"" + codec_ + "\"; it belongs to " + names);
  }

 private:
  Keys& keys_;
  std::string codec_;
  std::vector<std::string> used_;
};

const std::vector<std::string> kCandidates = {"fp32", "bf16", "onebit", "bits", "topk", "lowrank"};

void check_auto(const ExchangeOptions& options, Keys& keys) {
  if (!options.replay.empty() && options.codec != "auto" && options.codec != "lgreco")
    keys.problem("replay", "has no effect with codec = \"" + options.codec +
                               "\"; decisions of auto and of lgreco are repeated");
  if (options.codec != "auto") {
    if (!options.candidates.empty())
      keys.problem("candidates",
                   "has no effect with codec = \"" + options.codec + "\"; it belongs to auto");
    return;
  }
  for (const std::string& name : options.candidates) {
    if (std::find(kCandidates.begin(), kCandidates.end(), name) == kCandidates.end()) {
      const std::string best = nearest(name, kCandidates);
      keys.problem("candidates", "'" + name +
                                     "' is none of fp32, bf16, onebit, bits, topk, lowrank" +
                                     (best.empty() ? "" : "; did you mean '" + best + "'?"));
    }
    if (options.compressed() && is_dense(name) && name != options.dense)
      keys.problem("candidates", "beside compressed ones the dense type is that of dense = \"" +
                                     options.dense + "\", not " + name);
  }
  if (options.feedback != "classic")
    keys.problem("feedback",
                 "auto moves residuals between codecs, which goes with \"classic\" only");
}

}  // namespace

void ExchangeOptions::bind(Keys& keys) {
  keys.choice("codec", codec,
              {"fp32", "bf16", "onebit", "bits", "topk", "lowrank", "lgreco", "auto"},
              "how averages travel between ranks");
  keys.choice("dense", dense, {"fp32", "bf16"},
              "wire type of the phases that a compressed optimizer averages densely");
  keys.choice("scale", scale, {"l1", "rms"},
              "onebit: one scale is the mean of |x| (l1) or the root of the mean square (rms)");
  keys.integer("block", block, -1, int64_t{1} << 30,
               "onebit, bits: elements a scale, a power of two from 64 on; 0 = a parameter; -1 = "
               "onebit a parameter, bits 512");
  keys.integer("bits", bits, 1, 8, "bits: bits an element");
  keys.choice("scaling", scaling, {"max_min", "norm"},
              "bits: grid between smallest and largest element, or symmetric about 0");
  keys.choice("rounding", rounding, {"nearest", "stochastic"}, "bits: how elements are rounded");
  keys.number("density", density, 0, 1, "topk: part of the elements of a matrix that is sent");
  keys.choice("sparse", sparse, {"auto", "gather", "scatter"},
              "topk: everybody's choice to everybody (gather), or summed and chosen again by the "
              "owner of each range (scatter); auto takes what sends less");
  keys.choice("values", values, {"fp32", "bf16"}, "topk: type of the values sent");
  keys.choice("select", select, {"exact", "sampled"},
              "topk: the largest elements exactly, or as DGC all beyond a threshold from a sample: "
              "they and up to 30 % more");
  keys.integer("rank", rank, 1, 1024, "lowrank: rank of each matrix");
  keys.texts("candidates", candidates,
             "auto: what may be chosen, of fp32, bf16, onebit, bits, topk, lowrank; empty = what "
             "does not put the optimizer's convergence at risk");
  keys.text("replay", replay,
            "auto, lgreco: a run whose decisions are repeated instead of own ones");
  keys.choice(
      "family", family, {"lowrank", "topk", "bits"},
      "lgreco: what is chosen for each matrix; its key (rank, density, bits) is the reference");
  keys.integer("every", every, 15, int64_t{1} << 40, "lgreco, auto: steps between decisions");
  keys.choice("budget", budget, {"norms", "squares"},
              "lgreco: errors are added up as norms or as squared norms");
  keys.choice("cost", cost, {"bytes", "time"},
              "lgreco: what is saved: bytes, or the predicted time of a step");
  keys.choice("feedback", feedback, {"classic", "ef21", "econtrol"},
              "policy of the error feedback");
  keys.number(
      "eta", eta, 0, 1,
      "econtrol: strength of the accumulated error; 0 = what the codec's contraction allows");
  keys.choice("residual", residual, {"fp32", "bf16"}, "type of the error feedback");
  keys.flag("hierarchy", hierarchy,
            "dense fp32 inside a node, the codec (in dense phases its wire type) between nodes");
  keys.flag("backend_all_reduce", backend_all_reduce,
            "fp32: the backend's own all-reduce, whose rounding depends on backend and ranks");
  keys.number("timeout_s", timeout_s, 0.1, 86400, "deadline of every collective, seconds");
}

bool is_dense(const std::string& codec) {
  return codec == "fp32" || codec == "bf16";
}

bool ExchangeOptions::compressed() const {
  if (codec != "auto") return !is_dense(codec);
  return std::any_of(candidates.begin(), candidates.end(),
                     [](const std::string& name) { return !is_dense(name); });
}

ExchangeOptions ExchangeOptions::with_codec(const std::string& name) const {
  ExchangeOptions fixed = *this;
  fixed.codec = name;
  fixed.candidates.clear();
  return fixed;
}

void ExchangeOptions::check(Keys& keys) const {
  const ExchangeOptions standard;
  if (block > 0 && (block < 64 || !std::has_single_bit(static_cast<uint64_t>(block))))
    keys.problem("block", "must be 0 or a power of two from 64 on, e.g. 4096");
  Owners owners(keys, *this);
  check_auto(*this, keys);
  owners.check("block", block != standard.block, {"onebit", "bits"});
  owners.check("scale", scale != standard.scale, {"onebit"});
  owners.check("bits", bits != standard.bits, {"bits"});
  owners.check("scaling", scaling != standard.scaling, {"bits"});
  owners.check("rounding", rounding != standard.rounding, {"bits"});
  owners.check("density", density != standard.density, {"topk"});
  owners.check("sparse", sparse != standard.sparse, {"topk"});
  owners.check("values", values != standard.values, {"topk"});
  owners.check("select", select != standard.select, {"topk"});
  owners.check("rank", rank != standard.rank, {"lowrank"});
  owners.check("feedback", feedback != standard.feedback, {"onebit", "bits", "topk", "lowrank"});
  owners.check("residual", residual != standard.residual, {"onebit", "bits", "topk"});
  owners.check("backend_all_reduce", backend_all_reduce, {"fp32"});
  if (codec != "lgreco")
    for (const auto& [key, set] :
         {std::pair("family", family != standard.family),
          std::pair("budget", budget != standard.budget), std::pair("cost", cost != standard.cost)})
      owners.check(key, set, {"lgreco"});
  if (codec != "lgreco" && codec != "auto")
    owners.check("every", every != standard.every, {"lgreco", "auto"});
  if (eta != standard.eta && feedback != "econtrol")
    keys.problem("eta", "has no effect with feedback = \"" + feedback + "\"; it is econtrol's");
  if (owners.uses("topk") && density <= 0) keys.problem("density", "must be above 0, e.g. 0.001");
  if (owners.uses("bits") && scaling == "norm" && bits == 1)
    keys.problem("bits", "1 bit and a norm is codec = \"onebit\"; bits needs 2 or more here");
  if (residual == "bf16" && owners.uses("lowrank"))
    keys.problem("residual", "lowrank keeps its residual in fp32");
  if (residual == "bf16" && feedback != "classic")
    keys.problem("residual", "bf16 goes with feedback = \"classic\" only");
}

}  // namespace terse
