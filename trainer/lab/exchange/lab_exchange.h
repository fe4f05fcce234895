// `terse lab exchange`: averages given tensors over the ranks with a codec and writes what arrived,
// for comparison with any other implementation, or to try a codec on one's own gradients.
//
// Input (F32): this rank's NAME@CALL, calls from 0 on, each with the same names and shapes. A name
// is a segment; every call is one bucket of all segments in byte order of name, row-major.
// Optional: NAME@residual and server_residual (this rank's chunk), the state before call 0.
// Written, F32: the averages NAME@CALL in the input's shapes; with error feedback NAME@residual and
// server_residual after the last call. Metadata: "server_offset", the chunk's first element;
// "wire_bytes" and "dense_bytes", JSON arrays of bytes this rank sent and would have sent as fp32;
// "decisions", a JSON array of what lgreco decided: {"call": the first it holds for, "value",
// "reason"}.
#pragma once
#include <string>

#include "comm/exchange_options.h"
#include "comm/group.h"

namespace terse {

struct LabExchangeOptions {
  ExchangeOptions exchange;
  std::string in;              // "{rank}" is replaced by the rank
  std::string out;             // without "{rank}" only rank 0 writes
  int64_t ranks_per_node = 1;  // for [exchange] hierarchy
};

// Collective over `group`. Memory: the answers of all calls. Error(invalid_file): the input, naming
// file and tensor.
void lab_exchange(const LabExchangeOptions& options, const Group& group);

}  // namespace terse
