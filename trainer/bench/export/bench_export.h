// `terse bench export`: exporting a checkpoint of a billion parameters and reading the file back,
// against a plain copy (cp) of the same bytes with a warm cache, in turns; and the memory that it
// takes. For each format F:
//
//   export.F        from an open checkpoint to the file; baseline "cp of the output": how many
//                   times as fast as copying the file that was written
//   export_input.F  the same export; baseline "cp of the input": as copying what it read of the
//                   checkpoint (codes and fp32 scales, or fp32 weights), at the rate at which the
//                   output was copied
//   import.F        the file opened, its checksums verified, the Codes or bytes of every tensor
//                   made in memory; baseline "cp of the file"
//   open.T          a checkpoint of target T opened, with all checksums; baseline as export_input
//   memory.export.F, memory.import.F
//                   the most memory resident at any time, pages of mapped files and of the program
//                   included; the export with the checkpoint's opening
//   anonymous.export.F, anonymous.import.F
//                   of that, what the kernel cannot take back
//
// A rate is bytes over wall time; a ratio of 1 means as fast as cp, which reads and writes each of
// these bytes once. Neither side waits for the disk (fsync), as cp does not. Memory is compared
// with the largest tensor in fp32 and 200 MB. Every file is verified against the checkpoint once.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "export/shapes.h"
#include "trainer/bench/core/bench_result.h"

namespace terse {

struct BenchExportOptions {
  std::string folder;               // for a folder of its own; "" = the one for temporary files
  std::optional<LlamaShape> shape;  // empty: 1.04 billion parameters; quick: 19 million
  int threads = 2;
  bool quick = false;
};

// The names above; `value` in GB/s, memory in MB. Needs about 10 GB in the folder for its time
// (quick: 200 MB), best on a file system in memory, and as much for the cache; some minutes.
// Changes the process's number of threads. Everything written is removed, after an error too.
std::vector<BenchResult> bench_export(const BenchExportOptions& options);

}  // namespace terse
