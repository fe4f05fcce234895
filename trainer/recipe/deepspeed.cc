#include "trainer/recipe/deepspeed.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

namespace terse {
namespace {

struct Renamed {
  const char* theirs;
  const char* table;
  const char* ours;
};
constexpr std::array<Renamed, 6> kRenamed{{
    {"freeze_step", "optim", "freeze"},
    {"var_freeze_step", "optim", "freeze"},
    {"var_update_scaler", "optim", "refresh_doubling"},
    {"local_step_scaler", "optim", "local_doubling"},
    {"local_step_clipper", "optim", "local_steps"},
    {"max_grad_norm", "train", "clip"},
}};

struct Ignored {
  const char* theirs;
  const char* why;
};
constexpr std::array<Ignored, 5> kIgnored{{
    {"comm_backend_name",
     "the backend follows from the launcher; --backend mpi | gloo | nccl picks one"},
    {"cuda_aware", "nothing is to be known about MPI's memory here"},
    {"bias_correction", "moments are always corrected"},
    {"eps_inside_sqrt", "eps is always added to the root"},
    {"amsgrad", "DeepSpeed's own has it switched off, too"},
}};

struct NamedOptimizer {
  const char* theirs;
  const char* ours;
  const char* codec;  // what it implies, or ""
};
constexpr std::array<NamedOptimizer, 5> kOptimizers{{
    {"OneBitAdam", "onebit_adam", "onebit"},
    {"ZeroOneAdam", "zero_one_adam", "onebit"},
    {"Adam", "adamw", ""},
    {"AdamW", "adamw", ""},
    {"SGD", "sgd", ""},
}};

std::string origin(const Entry& entry) {
  return fmt::format("{} = {} (DeepSpeed, {})", entry.key, shown(entry.value),
                     entry.place.to_text());
}

class Translation {
 public:
  Translation(Document& document, std::vector<Problem>& problems)
      : document_(document), problems_(problems) {}

  std::vector<std::string> run() {
    if (document_.find("optim") == nullptr) return {};
    for (const Renamed& r : kRenamed) rename(r);
    for (const Ignored& i : kIgnored)
      if (const auto entry = take(i.theirs))
        lines_.push_back(fmt::format("{} -> ignored: {}", origin(*entry), i.why));
    if (const auto entry = take("type")) name(*entry);
    return std::move(lines_);
  }

 private:
  std::optional<Entry> take(std::string_view key) {
    auto& entries = document_.table("optim").entries;
    const auto found = std::ranges::find(entries, key, &Entry::key);
    if (found == entries.end()) return std::nullopt;
    Entry entry = std::move(*found);
    entries.erase(found);
    return entry;
  }

  // False and a problem if it is there already.
  bool put(const char* table, const char* key, Value value, const Entry& from) {
    Table& to = document_.table(table);
    const Entry* there = to.find(key);
    const bool overrides = there != nullptr && from.from_flag && !there->from_flag;
    if (overrides) std::erase_if(to.entries, [&](const Entry& e) { return e.key == key; });
    if (there != nullptr && !overrides) {
      problems_.push_back({from.place, fmt::format("DeepSpeed's '{}' is [{}] {}, which is there as "
                                                   "well; keep one of them",
                                                   from.key, table, key)});
      return false;
    }
    if (to.place.source.empty()) to.place = from.place;
    to.entries.push_back({key, std::move(value), from.place, from.from_flag});
    return true;
  }

  void rename(const Renamed& r) {
    const auto entry = take(r.theirs);
    if (entry && put(r.table, r.ours, entry->value, *entry))
      lines_.push_back(
          fmt::format("{} -> [{}] {} = {}", origin(*entry), r.table, r.ours, shown(entry->value)));
  }

  void name(const Entry& entry) {
    const auto* text = std::get_if<std::string>(&entry.value.data);
    const auto found = std::ranges::find_if(
        kOptimizers, [&](const NamedOptimizer& o) { return text != nullptr && *text == o.theirs; });
    if (found == kOptimizers.end()) {
      problems_.push_back(
          {entry.place, fmt::format("[optim] type: terse has no counterpart of "
                                    "DeepSpeed's optimizer {}; there are OneBitAdam, "
                                    "ZeroOneAdam, Adam, AdamW and SGD",
                                    shown(entry.value))});
      return;
    }
    if (!put("optim", "name", Value{std::string(found->ours)}, entry)) return;
    std::string line = fmt::format("{} -> [optim] name = \"{}\"", origin(entry), found->ours);
    const Table* exchange = document_.find("exchange");
    const bool open = exchange == nullptr || exchange->find("codec") == nullptr;
    if (open && *found->codec != '\0' &&
        put("exchange", "codec", Value{std::string(found->codec)}, entry))
      line += fmt::format(", [exchange] codec = \"{}\"", found->codec);
    lines_.push_back(std::move(line));
  }

  Document& document_;
  std::vector<Problem>& problems_;
  std::vector<std::string> lines_;
};

}  // namespace

std::string shown(const Value& value) {
  struct Text {
    std::string operator()(const std::vector<Value>& values) const {
      std::string text;
      for (const Value& v : values) text += (text.empty() ? "" : ", ") + shown(v);
      return fmt::format("[{}]", text);
    }
    std::string operator()(const Unsupported& u) const { return u.type; }
    std::string operator()(bool v) const { return toml_text(v); }
    std::string operator()(int64_t v) const { return toml_text(v); }
    std::string operator()(double v) const { return toml_text(v); }
    std::string operator()(const std::string& v) const { return toml_text(v); }
  };
  return std::visit(Text{}, value.data);
}

std::vector<std::string> translate_deepspeed(Document& document, std::vector<Problem>& problems) {
  return Translation(document, problems).run();
}

}  // namespace terse
