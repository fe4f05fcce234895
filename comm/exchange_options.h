// The recipe's [exchange] table. Free of torch.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/keys.h"

namespace terse {

// fp32 or bf16: averages as they are.
bool is_dense(const std::string& codec);

struct ExchangeOptions {
  std::string codec = "fp32";  // fp32 | bf16 | onebit | bits | topk | lowrank | lgreco | auto
  std::string dense = "fp32";  // wire type of dense phases under a compressed codec: fp32 | bf16

  std::string scale = "rms";  // onebit: l1 | rms (comm/codec/onebit.h compares them)
  int64_t block = -1;         // onebit, bits: elements a scale; 0 = a segment; -1 = the codec's own
  int64_t bits = 4;           // bits: 1 to 8
  std::string scaling = "max_min";   // bits: max_min | norm
  std::string rounding = "nearest";  // bits: nearest | stochastic
  double density = 0.001;            // topk: part of each matrix that is sent
  std::string sparse = "auto";       // topk: gather | scatter | auto (comm/make_exchange.h)
  std::string values = "fp32";       // topk: fp32 | bf16
  std::string select = "exact";      // topk: exact | sampled (comm/codec/select.h)
  int64_t rank = 4;                  // lowrank

  // auto (comm/auto_exchange.h): any of fp32 | bf16 | onebit | bits | topk | lowrank; empty: what
  // suits the optimizer (optim/make_reducer.h)
  std::vector<std::string> candidates{};
  std::string replay{};  // auto, lgreco: a run whose decisions are taken instead of own ones
  // Its decisions (first step, choice), no key: whoever reads runs fills them in, on rank 0.
  std::vector<std::pair<int64_t, std::string>> replayed{};

  // lgreco (comm/lgreco_exchange.h); the family's own key above is its uniform reference
  std::string family = "lowrank";  // lowrank | topk | bits
  int64_t every = 500;             // lgreco, auto: steps between decisions
  std::string budget = "norms";    // norms | squares
  std::string cost = "bytes";      // bytes | time

  std::string feedback = "classic";  // classic | ef21 | econtrol (comm/error_control.h)
  double eta = 0;                    // econtrol; 0: from the codec's contraction
  std::string residual = "fp32";     // type of the error feedback: fp32 | bf16
  bool hierarchy = false;            // dense inside a node, the codec between nodes
  bool backend_all_reduce = false;
  double timeout_s = 60;  // deadline of every collective; the Group's, kept here as a key

  // The codec that does the work: the family of lgreco, else `codec`.
  const std::string& worker() const { return codec == "lgreco" ? family : codec; }
  // Some message may be lossy: always, or under auto if the candidates (filled in) say so.
  bool compressed() const;
  // The same settings for a fixed codec.
  ExchangeOptions with_codec(const std::string& name) const;
  void bind(Keys& keys);
  void check(Keys& keys) const;
};

}  // namespace terse
