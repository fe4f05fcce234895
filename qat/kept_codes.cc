#include "qat/kept_codes.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "qat/nibbles.h"

namespace terse {
namespace {

constexpr int64_t kKeptGrain = 1 << 15;  // elements a thread takes at least

int64_t row_grain(int64_t columns) {
  return std::max<int64_t>(1, kKeptGrain / std::max<int64_t>(columns, 1));
}

}  // namespace

KeptCodes keep_codes(const CodeFormat& format, const at::Tensor& codes) {
  const int64_t rows = codes.size(0), columns = codes.size(1);
  const Nibble kind = nibble_of(format);
  if (kind == Nibble::none || !codes.is_cpu()) return {codes, columns};
  const at::Tensor bytes = at::empty({rows, nibble_stride(columns)}, at::kByte);
  const int8_t* from = codes.const_data_ptr<int8_t>();
  auto* to = bytes.data_ptr<uint8_t>();
  at::parallel_for(0, rows, row_grain(columns), [&](int64_t begin, int64_t end) {
    pack_nibbles(kind, from + begin * columns, end - begin, columns,
                 to + begin * nibble_stride(columns));
  });
  return {bytes, columns};
}

at::Tensor unpack_codes(const CodeFormat& format, const KeptCodes& kept) {
  if (!kept.packed()) return kept.bytes;
  const at::Tensor codes = at::empty({kept.rows(), kept.columns}, at::kChar);
  auto* to = codes.data_ptr<int8_t>();
  at::parallel_for(0, kept.rows(), row_grain(kept.columns), [&](int64_t begin, int64_t end) {
    code_rows(format, kept, begin, end, to + begin * kept.columns);
  });
  return codes;
}

const int8_t* code_rows(const CodeFormat& format, const KeptCodes& kept, int64_t begin, int64_t end,
                        int8_t* room) {
  if (!kept.packed()) return kept.bytes.const_data_ptr<int8_t>() + begin * kept.columns;
  unpack_nibbles(nibble_of(format),
                 kept.bytes.const_data_ptr<uint8_t>() + begin * nibble_stride(kept.columns),
                 end - begin, kept.columns, room);
  return room;
}

}  // namespace terse
