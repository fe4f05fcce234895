// `terse verify --engine`: an exported file in the engine that is to serve it, against the run.
//
// The engine runs in a Python program of its own (scripts/engine/, in the virtual environment that
// scripts/setup makes) and answers two questions in JSON: the perplexity of token windows, and the
// log-probabilities of the whole vocabulary after every prefix of the probe's tokens.
#pragma once
#include <string>

#include "export/artifact.h"
#include "trainer/data_files.h"

namespace terse {

struct EngineProgram {
  const char* name;    // "llama.cpp", "vllm"
  const char* script;  // PROGRAM FILE --windows IDS.json --probe IDS.json, in the source tree
  const char* python;
  const char* setup;            // the command that installs it
  double perplexity_tolerance;  // relative
  double probe_tolerance;       // of probe_difference
  const char* because;          // why the tolerances are not rounding alone
};

// Error(usage) with the names that there are.
const EngineProgram& engine_program(const std::string& name);

struct EngineCheck {
  std::string engine;
  double perplexity = 0, terse_perplexity = 0;
  int64_t tokens = 0;
  double probe_difference = 0;  // export/probe.h
  bool agrees = false;
};
std::string to_json(const EngineCheck& check);

// `artifact`: as the file says it. `windows`: how many of the validation text are scored, by both.
// The probe is the one beside the file if there is one. Error(usage) if the model is not one of
// text or the engine is not installed, Error(invalid_file) with its last words if it fails.
EngineCheck check_in_engine(const EngineProgram& engine, const std::string& path,
                            const Artifact& artifact, const DataFiles& data, int64_t windows);

}  // namespace terse
