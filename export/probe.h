// The logits probe beside an exported file: what the run's own forward answers to a few tokens, so
// that whatever reads the file can be compared. A safetensors file: "ids" int32 [n], "logits" fp32
// [n, vocabulary], of every prefix of the ids; metadata: the file's name, "activations".
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/file_system.h"

namespace terse {

struct LogitsProbe {
  std::vector<int32_t> ids;
  int64_t vocab = 0;
  std::vector<float> logits;  // [ids, vocab]
  int64_t act_bits = 16;      // what the forward rounded activations to
};

// OUT.probe.safetensors, for a file or a folder OUT.
std::string probe_path(std::string out);
// Atomic.
void write_probe(FileSystem& fs, const std::string& path, const LogitsProbe& probe);
// Error(invalid_file) unless it is a probe.
LogitsProbe read_probe(const std::string& path);

// How far two models' log-probabilities of the next token, after every prefix, lie apart: the root
// mean square of the differences, relative to that of the probe's own about each row's mean. 0 is
// equal, about 1 unrelated; NaN if either holds one. `log_probabilities`: [ids, vocab].
double probe_difference(const LogitsProbe& probe, const std::vector<float>& log_probabilities);

}  // namespace terse
