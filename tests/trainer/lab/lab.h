// Runs `terse lab ...` on tensors and reads what it wrote.
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "export/safetensors.h"
#include "tests/support/processes.h"
#include "tests/support/temporary_directory.h"

namespace terse::testing {

using Tensors = std::map<std::string, at::Tensor>;  // fp32

class Lab {
 public:
  // `words` after "terse lab", without --in and --out. One element of `inputs` a rank; the files
  // written come back in the same order. Fails the running test when the program does.
  std::vector<SafetensorsFile> run(const std::vector<std::string>& words,
                                   const std::vector<Tensors>& inputs) const;

 private:
  TemporaryDirectory folder_;
};

// JSON array of the metadata.
std::vector<double> numbers(const SafetensorsFile& file, const std::string& key);
std::vector<std::string> texts(const SafetensorsFile& file, const std::string& key);

}  // namespace terse::testing
