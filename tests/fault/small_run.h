// A run small enough to be started dozens of times: a text made here, a model of 20,000 parameters,
// two seconds of training.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/support/processes.h"
#include "tests/support/temporary_directory.h"

namespace terse {

class SmallRun {
 public:
  // Writes text and recipe, and prepares the data once.
  SmallRun();

  // `terse train` into folder `run` of this test, with further --set flags.
  testing::Outcome train(const std::string& run, int ranks,
                         const std::vector<std::string>& sets = {},
                         testing::Started launcher = testing::Started::environment,
                         const std::map<std::string, std::string>& environment = {},
                         const std::string& backend = "auto");
  testing::Launch resume_launch(const std::string& run, int ranks,
                                const std::vector<std::string>& sets = {});
  testing::Outcome resume(const std::string& run, int ranks,
                          const std::vector<std::string>& sets = {});
  testing::Launch train_launch(const std::string& run, int ranks,
                               const std::vector<std::string>& sets);

  std::string path(const std::string& name) const { return directory_ / name; }
  // metrics.jsonl of a run: loss by step; skipped steps are NaN.
  std::vector<double> losses(const std::string& run) const;
  // The bytes of the newest checkpoint's shared file.
  std::string final_state(const std::string& run) const;
  // The fp32 weights in the checkpoint of that step, as bytes by name.
  std::map<std::string, std::string> weights(const std::string& run, int64_t step) const;

 private:
  TemporaryDirectory directory_;
};

}  // namespace terse
