// What a run's own forward answers to the first tokens of its validation text: written beside every
// exported file (export/probe.h), and compared with engines by `terse verify --engine`.
#pragma once
#include <string>

#include "export/artifact.h"
#include "export/probe.h"
#include "trainer/data_files.h"

namespace terse {

// fp32 on the CPU, inputs rounded as the artifact says: of what is exported, as_stored()
// (export/formats.h). Text: the begin token and the first tokens of data.valid; where that file is
// missing, ids drawn from a fixed sequence. Up to 32 tokens.
LogitsProbe make_probe(const Artifact& artifact, const DataFiles& data);

// make_probe and write_probe, to probe_path(out), which is returned. Nothing and "" for a model of
// images: no engine reads one whose answer could be compared (export/vit has no decoder).
std::string write_probe_of(const Artifact& artifact, const DataFiles& data, const std::string& out);

}  // namespace terse
