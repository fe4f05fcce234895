#include "export/rans.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"
#include "base/isa.h"
#include "base/tensor_view.h"
#include "export/kernels/declarations.h"

namespace terse {
namespace {

constexpr int kCoders = 32;
constexpr uint32_t kLow = 1u << 16;
constexpr int64_t kTotal = 4096;
constexpr double kHeaderBytes = 256;  // about: states and frequencies
enum Mode : uint8_t { kRaw = 0, kConstant = 1, kCoded = 2 };

// A constant byte is stored once for every 1,024, so that no file can claim much more than it has.
size_t copies_of(size_t bytes) {
  return (bytes + 1023) / 1024;
}

using Counts = std::array<uint32_t, 256>;

Counts count_bytes(std::span<const uint8_t> run) {
  // Four tables: equal neighbours would wait for each other's counter.
  std::array<Counts, 4> parts = {};
  size_t i = 0;
  for (; i + 4 <= run.size(); i += 4)
    for (size_t k = 0; k < 4; ++k) ++parts[k][run[i + k]];
  for (; i < run.size(); ++i) ++parts[0][run[i]];
  for (size_t s = 0; s < 256; ++s) parts[0][s] += parts[1][s] + parts[2][s] + parts[3][s];
  return parts[0];
}

// Frequencies of sum 4096, at least 1 for what occurs; the most frequent ones take the rounding.
std::array<uint16_t, 256> frequencies_of(const Counts& counts, int64_t all) {
  std::array<uint16_t, 256> out = {};
  int64_t sum = 0;
  for (size_t s = 0; s < 256; ++s) {
    if (counts[s] == 0) continue;
    out[s] = static_cast<uint16_t>(
        std::clamp((counts[s] * kTotal + all / 2) / all, int64_t{1}, kTotal - 1));
    sum += out[s];
  }
  for (; sum != kTotal; sum += sum < kTotal ? 1 : -1) {
    const auto most = std::max_element(out.begin(), out.end());
    *most = static_cast<uint16_t>(*most + (sum < kTotal ? 1 : -1));
  }
  return out;
}

// Whether coding saves at least one byte in 64: less is not worth the time to decode.
bool worth_coding(const Counts& counts, const std::array<uint16_t, 256>& frequency, int64_t all) {
  double bits = 0;
  for (size_t s = 0; s < 256; ++s)
    if (counts[s] > 0) bits += counts[s] * (12.0 - std::log2(frequency[s]));
  const int64_t most = all - all / 64;
  return bits / 8 + kHeaderBytes < static_cast<double>(most);
}

template <typename T>
void append(std::vector<std::byte>& out, const T* data, size_t count) {
  const auto bytes = bytes_of(data, static_cast<int64_t>(count));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void append_frequencies(const std::array<uint16_t, 256>& frequency, std::vector<std::byte>& out) {
  const auto used = std::count_if(frequency.begin(), frequency.end(), [](auto f) { return f > 0; });
  const uint8_t head[] = {kCoded, static_cast<uint8_t>(used - 1)};
  append(out, head, 2);
  for (size_t s = 0; s < 256; ++s) {
    if (frequency[s] == 0) continue;
    const auto symbol = static_cast<uint8_t>(s);
    append(out, &symbol, 1);
    append(out, &frequency[s], 1);
  }
}

void add_symbol(RansSymbols& symbols, size_t s, uint32_t frequency, uint32_t start) {
  symbols.reciprocal[s] = 1.0 / frequency * (1 + 0x1p-50);
  symbols.slots[s] = start | frequency << 16;
}

// The k-th symbol that occurs.
void add_few(RansSymbols& symbols, size_t k, size_t s, uint32_t frequency, uint32_t start) {
  symbols.place[s] = static_cast<uint8_t>(k);
  if (frequency == 1) {
    symbols.magic[k] = ~0u;
    symbols.packed[k] = (start + 4095) | frequency << 13;
    return;
  }
  const RansQuotient quotient = rans_quotient(frequency);
  symbols.magic[k] = quotient.magic;
  symbols.packed[k] = start | frequency << 13 | quotient.shift << 25;
}

RansSymbols symbols_of(const std::array<uint16_t, 256>& frequency) {
  RansSymbols symbols = {};
  const auto used = std::count_if(frequency.begin(), frequency.end(), [](auto f) { return f > 0; });
  const bool few =
      used <= RansSymbols::kFew &&
      *std::max_element(frequency.begin(), frequency.end()) <= RansQuotient::kMostOften;
  uint32_t start = 0;
  size_t k = 0;
  for (size_t s = 0; s < 256; ++s) {
    const uint32_t f = frequency[s];
    if (f == 0) continue;
    add_symbol(symbols, s, f, start);
    if (few) add_few(symbols, k++, s, f, start);
    start += f;
  }
  symbols.few = static_cast<int>(k);
  return symbols;
}

void encode_coded(std::span<const uint8_t> run, const std::array<uint16_t, 256>& frequency,
                  std::vector<std::byte>& out) {
  append_frequencies(frequency, out);
  const RansSymbols symbols = symbols_of(frequency);
  // 12 bits are the most that a symbol costs: no more words than symbols. The kernel overwrites
  // sixteen words below the last one.
  static thread_local std::vector<uint16_t> words(static_cast<size_t>(kRansRun) + 17);
  uint32_t states[kCoders];
  std::fill(states, states + kCoders, kLow);
  uint16_t* const end = words.data() + words.size();
  uint16_t* first = end;
  TERSE_DISPATCH(
      rans_encode(symbols, run.data(), static_cast<int64_t>(run.size()), states, &first));
  const auto count = static_cast<uint32_t>(end - first);
  append(out, &count, 1);
  append(out, states, kCoders);
  append(out, first, count);
}

struct Table {
  alignas(64) std::array<uint32_t, kTotal> entries;
};

// The symbols of a coded run: slot -> symbol, frequency, place inside the symbol's slots.
void read_table(ByteCursor& in, Table& table) {
  const size_t symbols = size_t{in.number<uint8_t>()} + 1;
  int64_t filled = 0;
  for (size_t k = 0; k < symbols; ++k) {
    const auto symbol = in.number<uint8_t>();
    const auto frequency = in.number<uint16_t>();
    if (frequency == 0 || frequency >= kTotal || filled + frequency > kTotal)
      in.bad("the frequencies do not add up to {}", kTotal);
    for (uint32_t place = 0; place < frequency; ++place)
      table.entries[static_cast<size_t>(filled++)] =
          symbol | static_cast<uint32_t>(frequency) << 8 | place << 20;
  }
  if (filled != kTotal) in.bad("the frequencies add up to {}, not {}", filled, kTotal);
}

// What the kernel leaves: the last incomplete step, and steps near the end of the words.
void decode_rest(ByteCursor& in, const Table& table, uint32_t* states, const uint16_t* words,
                 const uint16_t* end, std::span<uint8_t> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    uint32_t& x = states[i % kCoders];
    const uint32_t entry = table.entries[x % kTotal];
    x = (entry >> 8 & 4095) * (x >> 12) + (entry >> 20);
    if (x < kLow) {
      if (words == end) in.bad("the coded bytes end too early");
      x = x << 16 | *words++;
    }
    out[i] = static_cast<uint8_t>(entry);
  }
  if (words != end) in.bad("{} coded words are left over", end - words);
  for (int k = 0; k < kCoders; ++k)
    if (states[k] != kLow) in.bad("coder {} does not end as it began", k);
}

void decode_coded(ByteCursor& in, std::span<uint8_t> out) {
  Table table;
  read_table(in, table);
  const auto count = in.number<uint32_t>();
  uint32_t states[kCoders];
  const auto stored = in.take(sizeof states);
  std::memcpy(states, stored.data(), sizeof states);
  for (const uint32_t x : states)
    if (x < kLow) in.bad("a coder starts below {}", kLow);
  const auto bytes = in.take(uint64_t{count} * sizeof(uint16_t));
  if (count > out.size()) in.bad("{} words for {} bytes", count, out.size());
  static thread_local std::vector<uint16_t> words(static_cast<size_t>(kRansRun));
  if (count > 0) std::memcpy(words.data(), bytes.data(), bytes.size());  // aligned
  const uint16_t* from = words.data();
  const uint16_t* const end = from + count;
  const int64_t made =
      TERSE_DISPATCH(rans_decode(table.entries.data(), states, &from, end,
                                 static_cast<int64_t>(out.size()) / kCoders, out.data()));
  decode_rest(in, table, states, from, end, out.subspan(static_cast<size_t>(made * kCoders)));
}

}  // namespace

void rans_encode_run(std::span<const uint8_t> run, std::vector<std::byte>& out) {
  TERSE_CHECK(static_cast<int64_t>(run.size()) <= kRansRun, "{}", run.size());
  const auto all = static_cast<int64_t>(run.size());
  const Counts counts = count_bytes(run);
  const auto symbols = std::count_if(counts.begin(), counts.end(), [](auto n) { return n > 0; });
  if (symbols == 1) {
    out.push_back(std::byte{kConstant});
    out.resize(out.size() + copies_of(run.size()), static_cast<std::byte>(run[0]));
    return;
  }
  if (symbols > 1) {
    const auto frequency = frequencies_of(counts, all);
    if (worth_coding(counts, frequency, all)) return encode_coded(run, frequency, out);
  }
  const uint8_t raw = kRaw;
  append(out, &raw, 1);
  append(out, run.data(), run.size());
}

void rans_decode_run(ByteCursor& in, std::span<uint8_t> out) {
  TERSE_CHECK(static_cast<int64_t>(out.size()) <= kRansRun, "{}", out.size());
  const auto mode = in.number<uint8_t>();
  if (mode == kCoded) return decode_coded(in, out);
  if (mode > kCoded) in.bad("mode {} is not known", mode);
  if (mode == kConstant) {
    const auto copies = in.take(copies_of(out.size()));
    for (const std::byte copy : copies)
      if (copy != copies[0]) in.bad("a constant run changes");
    std::fill(out.begin(), out.end(), out.empty() ? 0 : std::to_integer<uint8_t>(copies[0]));
    return;
  }
  const auto bytes = in.take(out.size());
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size());
}

void rans_skip_run(ByteCursor& in, size_t size) {
  const auto mode = in.number<uint8_t>();
  if (mode == kRaw) {
    in.take(size);
  } else if (mode == kConstant) {
    in.take(copies_of(size));
  } else if (mode == kCoded) {
    const uint64_t symbols = uint64_t{in.number<uint8_t>()} + 1;
    in.take(symbols * (sizeof(uint8_t) + sizeof(uint16_t)));
    const auto words = in.number<uint32_t>();
    in.take(kCoders * sizeof(uint32_t) + uint64_t{words} * sizeof(uint16_t));
  } else {
    in.bad("mode {} is not known", mode);
  }
}

}  // namespace terse
