#include "optim/options.h"

#include "base/error.h"
#include "optim/adamw.h"
#include "optim/dgc.h"
#include "optim/onebit_adam.h"
#include "optim/zero_one_adam.h"

namespace terse {

void OptimOptions::bind(Keys& keys) {
  keys.choice("name", name, {"adamw", "onebit_adam", "zero_one_adam", "sgd", "dgc"}, "optimizer");
  keys.number("lr", lr, 0, 1e3, "peak learning rate");
  keys.numbers("betas", betas, "decay of the first and second moment");
  keys.number("eps", eps, 0, 1, "added to the root of the second moment");
  keys.number("weight_decay", weight_decay, -1, 1e3,
              "matrices only; decoupled, for sgd and dgc added to the gradient; -1 = 0.1, for sgd "
              "and dgc 0");
  keys.choice("schedule", schedule, {"cosine", "onecycle", "constant"},
              "learning rate over the steps");
  keys.integer("warmup", warmup, -1, int64_t{1} << 40,
               "steps of rising learning rate; -1 = a tenth of the run");
  keys.number("min_lr", min_lr, 0, 1, "last learning rate, as a part of lr");
  keys.integer("freeze", freeze, 0, int64_t{1} << 40,
               "onebit_adam: dense steps before compression begins; 0 = when the variance settles. "
               "zero_one_adam: steps before the variance stays and local steps may begin; 0 = the "
               "warm-up, but at least 15 % of the run");
  keys.number("variance_floor", variance_floor, 0, 1,
              "onebit_adam, zero_one_adam: least root of the variance, as a part of its segment's");
  keys.integer("refresh_doubling", refresh_doubling, 1, int64_t{1} << 40,
               "zero_one_adam: refreshes of the variance after which the interval between them "
               "doubles");
  keys.integer("local_steps", local_steps, 1, 4096,
               "zero_one_adam: most steps between two exchanges, this one included; 1 = exchange "
               "at every step");
  keys.integer("local_doubling", local_doubling, 0, int64_t{1} << 40,
               "zero_one_adam: steps after which the interval between exchanges doubles; 0 = each "
               "time the learning rate has halved");
  keys.integer("variance_steps", variance_steps, -1, int64_t{1} << 40,
               "adamw: updates after which the variance stays as it is (STEP); 0 = never; -1 = "
               "when it has settled (AutoSwitch)");
  keys.number("momentum", momentum, 0, 1, "sgd, dgc: decay of the velocity");
  keys.flag("nesterov", nesterov, "sgd, dgc: Nesterov's momentum");
  keys.integer("ramp", ramp, -1, int64_t{1} << 40,
               "dgc: steps over which the density falls to [exchange] density; -1 = as many as "
               "warmup");
}

void OptimOptions::check(Keys& keys) const {
  if (betas.size() != 2)
    return keys.problem("betas", fmt::format("needs two numbers, has {}", betas.size()));
  for (double beta : betas)
    if (!(beta >= 0 && beta < 1))
      keys.problem("betas", fmt::format("{} is not at least 0 and below 1", beta));
  if (weight_decay < 0 && weight_decay != -1)
    keys.problem("weight_decay", fmt::format("{} is neither -1 nor at least 0", weight_decay));
  if (variance_steps != 0 && name != "adamw")
    keys.problem("variance_steps", fmt::format("belongs to name = \"adamw\", not \"{}\"", name));
}

std::shared_ptr<Optimizer> make_optimizer(const OptimOptions& options, int64_t total_steps,
                                          const Compression& compression) {
  if (options.name == "adamw")
    return std::make_shared<AdamW>(
        AdamOptions::from(options), compression.lossy ? Phase::codec : Phase::dense,
        options.variance_steps < 0 ? AutoSwitch::from(options, total_steps) : AutoSwitch());
  if (options.name == "onebit_adam") {
    const FreezeRule rule = FreezeRule::from(options, total_steps);
    return std::make_shared<OnebitAdam>(AdamOptions::from(options), rule, options.variance_floor);
  }
  if (options.name == "zero_one_adam")
    return std::make_shared<ZeroOneAdam>(AdamOptions::from(options),
                                         ZeroOneSchedule::from(options, total_steps),
                                         options.variance_floor);
  if (options.name == "sgd" || options.name == "dgc") {
    const SgdOptions sgd{options.momentum, options.nesterov, options.decay()};
    const int64_t ramp = options.ramp >= 0 ? options.ramp : options.warmup_steps(total_steps);
    const DensitySchedule schedule{compression.density, ramp, compression.sparse_below};
    return std::make_shared<Dgc>(sgd, schedule, options.name == "dgc", compression.ranks);
  }
  fail(ExitCode::usage,
       "[optim] name = '{}': there are adamw, onebit_adam, zero_one_adam, sgd and dgc",
       options.name);
}

}  // namespace terse
