// Order-0 entropy coding of bytes: 32 interleaved rANS coders with 12-bit frequencies (Duda, arXiv
// 1311.2540; Giesen, arXiv 1402.3392). docs/formats.md has the grammar of a run.
//
// A run is coded by itself: its own frequencies, or raw where coding saves nothing, or one byte
// where all are the same. Any bytes come back as they were. Deterministic, the same on every
// instruction set. Thread-safe (no state). Speed: docs/benchmarks.md.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "export/byte_cursor.h"

namespace terse {

// The longest run; longer data are cut by the caller.
inline constexpr int64_t kRansRun = int64_t{1} << 18;

// Appends the coded run (at most kRansRun bytes) to `out`. At most one byte longer than `run`.
void rans_encode_run(std::span<const uint8_t> run, std::vector<std::byte>& out);

// Decodes one run of out.size() bytes at the cursor. Error(invalid_file) if it is truncated, if its
// frequencies do not add up, or if its coders do not end as they began.
void rans_decode_run(ByteCursor& in, std::span<uint8_t> out);
// Moves the cursor behind one run of `size` bytes without decoding it.
void rans_skip_run(ByteCursor& in, size_t size);

}  // namespace terse
