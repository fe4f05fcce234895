// Run by reshard_test.cc:  trainer_run_ranks KIND FOLDER STEPS RANKS_PER_NODE
// Takes STEPS steps of KIND (onebit: 1-bit Adam; topk: AdamW; dgc: without momentum) from FOLDER's
// newest checkpoint (or from the start), checks the ledger, saves, and prints a hash of the
// weights.
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "base/error.h"
#include "launch/rendezvous.h"
#include "tests/optim/training.h"
#include "trainer/checkpoint/checkpoint.h"

namespace terse {
namespace {

constexpr double kBeta1 = 0.9;
constexpr double kLearningRate = 1e-2;  // of Training

void expect(bool condition, const std::string& what) {
  if (!condition) throw std::runtime_error("reshard: " + what);
}

at::Tensor tensor_of(const TensorView& view) {
  at::Tensor out = at::empty({view.numel()}, view.dtype == DType::f64 ? at::kDouble : at::kFloat);
  std::memcpy(out.mutable_data_ptr(), view.data.data(), view.data.size());
  return out.to(at::kDouble);
}

class Ledger {
 public:
  Ledger(const Group& group, const std::string& kind, const std::string& folder, int64_t per_node)
      : group_(group), kind_(kind), folder_(folder) {
    training_ = std::make_unique<Training>(group, optimizer_of(kind), exchange_of(kind, per_node),
                                           ReducerOptions{.clip = 0}, at::kCPU, per_node);
    given_ = at::zeros_like(training_->weights(), at::kDouble);
    sent_ = at::zeros_like(given_);
    const CheckpointSearch search = newest_checkpoint(folder, group.rank());
    if (search.found == nullptr) return;
    training_->load(*search.found);
    steps_ = search.found->step();
    given_ = tensor_of(*search.found->tensor(Scope::shared, "ledger/given"));
    sent_ = tensor_of(*search.found->tensor(Scope::shared, "ledger/sent"));
    check(fmt::format("after loading what {} ranks saved", search.found->saved_ranks()));
  }

  void step() {
    const at::Tensor m = all_of(Scope::shared, "optim/m/");
    const at::Tensor weights = training_->weights().to(at::kDouble);
    at::Tensor gradient;
    const StepResult r = training_->step(false, [&] { gradient = training_->gradients(); });
    ++steps_;
    expect(r.committed, "a step was skipped");
    if (r.phase != Phase::codec) return;
    const at::Tensor given = mean(gradient), now = all_of(Scope::shared, "optim/m/");
    if (kind_ == "onebit") {
      given_ += all_of(Scope::shared, "optim/vhat/").gt(0) * (kBeta1 * m + (1 - kBeta1) * given);
      sent_ += now;
      return;
    }
    given_ += given;
    sent_ += kind_ == "dgc" ? (weights - training_->weights().to(at::kDouble)) / kLearningRate
                            : (now - kBeta1 * m) / (1 - kBeta1);
  }
  void print_weights() const {
    const at::Tensor weights = training_->weights();
    Checksum checksum;
    checksum.update(bytes_of(weights.const_data_ptr<float>(), weights.numel()));
    const uint64_t hash = checksum.value();
    std::printf("weights %016llx\n", static_cast<unsigned long long>(hash));
  }

  void check(const std::string& when) const {
    const at::Tensor owed = kept("exchange/residual/") + kept("exchange/server_residual/");
    const double largest = owed.abs().max().item<double>();
    const double wrong = (given_ - sent_ - owed).abs().max().item<double>();
    expect(largest > 1e-3, "there is no residual to lose");
    // fp32 sums of momenta and residuals over a hundred steps. DGC's answers are differences of
    // weights near 1, rounded to 2^-24, over a learning rate of 1e-2; a residual that is lost is
    // ten times as large.
    expect(wrong < (kind_ == "dgc" ? 2e-3 : 1e-4) * largest,
           fmt::format("{}: {} of {} is missing", when, wrong, largest));
  }

  void save() const {
    CheckpointWriter writer(FileSystem::real(), folder_, steps_, group_.rank(),
                            [this](const CheckpointPart& part) {
                              Group group = group_;
                              return group.all_gather_value(part, "checkpoint");
                            });
    training_->save(writer);
    for (const auto& [name, t] : {std::pair{"ledger/given", given_}, {"ledger/sent", sent_}})
      writer.tensor(Scope::shared, name,
                    {DType::f64, {t.numel()}, bytes_of(t.const_data_ptr<double>(), t.numel())});
    writer.commit(1);
  }

 private:
  at::Tensor mean(const at::Tensor& own) const {
    Group group = group_;
    at::Tensor all = at::empty({group.size() * own.numel()}, at::kFloat);
    group.all_gather(all, own.to(at::kFloat).contiguous(), "ledger").wait();
    return all.view({group.size(), -1}).to(at::kDouble).mean(0);
  }
  // PREFIX/NAME of all parameters in the order of weights(); zeros where there is none.
  at::Tensor all_of(Scope scope, const std::string& prefix) const {
    MemoryState state(group_.size());
    training_->save(state);
    std::vector<at::Tensor> parts;
    for (const Parameter& p : training_->parameters()) {
      const auto view = state.tensor(scope, prefix + p.name, -1);
      parts.push_back(view ? tensor_of(*view) : at::zeros({p.value.numel()}, at::kDouble));
    }
    return at::cat(parts);
  }
  // PREFIX/NAME as ranks keep it, whole or in part: element by element the mean over those that do.
  at::Tensor kept(const std::string& prefix) const {
    MemoryState state(group_.size());
    training_->save(state);
    at::Tensor own = at::zeros_like(given_), keeps = at::zeros_like(given_);
    for (const Parameter& p : training_->parameters()) {
      const auto view = state.tensor(Scope::own, prefix + p.name, -1);
      if (!view) continue;
      const int64_t begin =
          state.tensor(Scope::own, prefix + p.name + ".begin", -1)->as<int64_t>()[0];
      own.narrow(0, offset_of(p.name) + begin, view->numel()).copy_(tensor_of(*view));
      keeps.narrow(0, offset_of(p.name) + begin, view->numel()).fill_(1);
    }
    return mean(own) / mean(keeps).clamp_min(1e-9);
  }
  int64_t offset_of(const std::string& name) const {
    int64_t at = 0;
    for (const Parameter& p : training_->parameters()) {
      if (p.name == name) return at;
      at += p.value.numel();
    }
    throw std::runtime_error("no parameter " + name);
  }

  static OptimOptions optimizer_of(const std::string& kind) {
    OptimOptions optim;
    optim.name = kind == "onebit" ? "onebit_adam" : kind == "dgc" ? "dgc" : "adamw";
    optim.freeze = kind == "onebit" ? 5 : 0;
    optim.momentum = kind == "dgc" ? 0 : optim.momentum;
    optim.weight_decay = kind == "dgc" ? 0 : optim.weight_decay;
    optim.ramp = 0;
    return optim;
  }
  static ExchangeOptions exchange_of(const std::string& kind, int64_t per_node) {
    ExchangeOptions exchange;
    exchange.codec = kind == "onebit" ? "onebit" : "topk";
    exchange.density = kind == "onebit" ? exchange.density : 0.02;
    exchange.hierarchy = per_node > 1;
    return exchange;
  }

  Group group_;
  std::string kind_, folder_;
  std::unique_ptr<Training> training_;
  at::Tensor given_, sent_;  // sums over the compressed steps, of means over ranks
  int64_t steps_ = 0;
};

int run(const std::string& kind, const std::string& folder, int steps, int64_t per_node) {
  try {
    World world = resolve_world(current_environment());
    const auto timeout = std::chrono::seconds(60);
    const auto store = join(world, timeout);
    const Group group = make_group(world, store, {.timeout = timeout});
    Ledger ledger(group, kind, folder, per_node);
    for (int i = 0; i < steps; ++i) ledger.step();
    ledger.check("after training");
    ledger.save();
    ledger.print_weights();
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}

}  // namespace
}  // namespace terse

int main(int argc, char** argv) {
  return argc == 5 ? terse::run(argv[1], argv[2], std::stoi(argv[3]), std::stoi(argv[4])) : 2;
}
