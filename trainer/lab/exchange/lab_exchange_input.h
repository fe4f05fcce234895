// The input file of `terse lab exchange` (lab_exchange.h has its grammar).
#pragma once
#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "comm/bucket.h"
#include "comm/exchange.h"
#include "export/safetensors.h"

namespace terse {

class LabExchangeInput {
 public:
  explicit LabExchangeInput(const std::string& path);

  int64_t calls() const { return calls_; }
  const Bucket& bucket() const { return bucket_; }
  std::vector<int64_t> shape(const std::string& name) const { return shapes_.at(name); }
  at::Tensor message(int64_t call) const;  // the bucket's elements
  // The optional residuals; zero where the file has none.
  bool has_residuals() const { return has_residuals_; }
  void load_residuals(Exchange& exchange, Range chunk, int64_t ranks) const;

 private:
  void read_name(const std::string& name);
  at::Tensor gather(const std::string& suffix, bool optional) const;

  SafetensorsFile file_;
  std::map<std::string, std::vector<int64_t>> shapes_;  // by segment, in byte order
  Bucket bucket_;
  int64_t calls_ = 0;
  bool has_residuals_ = false;
};

}  // namespace terse
