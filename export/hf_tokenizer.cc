#include "export/hf_tokenizer.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>

namespace terse {
namespace {

using nlohmann::ordered_json;

constexpr const char* kSpace = "\xe2\x96\x81";  // U+2581, sentencepiece's space

bool has(const TokenizerData& t, int64_t id) {
  return id >= 0 && static_cast<size_t>(id) < t.pieces.size();
}

const std::string& text_of(const TokenizerData& t, int64_t id) {
  return t.pieces[static_cast<size_t>(id)].text;
}

bool mergeable(const TokenPiece& piece) {
  return piece.type == PieceType::normal || piece.type == PieceType::user;
}

// Every way to put a piece together from two others, better pieces first.
ordered_json merges(const TokenizerData& t) {
  std::map<std::string_view, size_t> known;
  std::vector<size_t> order;
  for (size_t id = 0; id < t.pieces.size(); ++id)
    if (mergeable(t.pieces[id]) && known.emplace(t.pieces[id].text, id).second) order.push_back(id);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return t.pieces[a].score > t.pieces[b].score; });
  ordered_json list = ordered_json::array();
  for (const size_t id : order) {
    const std::string_view text = t.pieces[id].text;
    for (size_t cut = 1; cut < text.size(); ++cut)
      if (known.contains(text.substr(0, cut)) && known.contains(text.substr(cut)))
        list.push_back({text.substr(0, cut), text.substr(cut)});
  }
  return list;
}

ordered_json vocabulary(const TokenizerData& t) {
  // An object of ordered_json looks for each new key from its start: quadratic.
  std::map<std::string, size_t> ids;
  for (size_t id = 0; id < t.pieces.size(); ++id) ids.emplace(t.pieces[id].text, id);
  return ordered_json(nlohmann::json(std::move(ids)));
}

ordered_json special_tokens(const TokenizerData& t) {
  ordered_json list = ordered_json::array();
  for (size_t id = 0; id < t.pieces.size(); ++id) {
    const TokenPiece& piece = t.pieces[id];
    if (piece.type != PieceType::control && piece.type != PieceType::unknown) continue;
    list.push_back({{"id", id},
                    {"content", piece.text},
                    {"single_word", false},
                    {"lstrip", false},
                    {"rstrip", false},
                    {"normalized", false},
                    {"special", true}});
  }
  return list;
}

ordered_json normalizer(const TokenizerData& t) {
  ordered_json steps = ordered_json::array();
  if (t.add_space_prefix) steps.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  steps.push_back({{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", kSpace}});
  return {{"type", "Sequence"}, {"normalizers", steps}};
}

ordered_json decoder(const TokenizerData& t) {
  ordered_json steps = {{{"type", "Replace"}, {"pattern", {{"String", kSpace}}}, {"content", " "}},
                        {{"type", "ByteFallback"}},
                        {{"type", "Fuse"}}};
  if (t.add_space_prefix)
    steps.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  return {{"type", "Sequence"}, {"decoders", steps}};
}

// Puts the begin token in front.
ordered_json post_processor(const TokenizerData& t) {
  if (!t.add_bos || !has(t, t.bos)) return nullptr;
  const std::string& bos = text_of(t, t.bos);
  const auto special = [&](int type) -> ordered_json {
    return {{"SpecialToken", {{"id", bos}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* id, int type) -> ordered_json {
    return {{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  const ordered_json ids = ordered_json::array({t.bos}), tokens = ordered_json::array({bos});
  return {
      {"type", "TemplateProcessing"},
      {"single", ordered_json::array({special(0), sequence("A", 0)})},
      {"pair", ordered_json::array({special(0), sequence("A", 0), special(1), sequence("B", 1)})},
      {"special_tokens", {{bos, {{"id", bos}, {"ids", ids}, {"tokens", tokens}}}}}};
}

}  // namespace

std::string hf_tokenizer(const TokenizerData& t) {
  const ordered_json unknown =
      has(t, t.unk) ? ordered_json(text_of(t, t.unk)) : ordered_json(nullptr);
  const ordered_json model = {{"type", "BPE"},
                              {"dropout", nullptr},
                              {"unk_token", unknown},
                              {"continuing_subword_prefix", nullptr},
                              {"end_of_word_suffix", nullptr},
                              {"fuse_unk", true},
                              {"byte_fallback", true},
                              {"ignore_merges", false},
                              {"vocab", vocabulary(t)},
                              {"merges", merges(t)}};
  const ordered_json json = {{"version", "1.0"},
                             {"truncation", nullptr},
                             {"padding", nullptr},
                             {"added_tokens", special_tokens(t)},
                             {"normalizer", normalizer(t)},
                             {"pre_tokenizer", nullptr},
                             {"post_processor", post_processor(t)},
                             {"decoder", decoder(t)},
                             {"model", model}};
  return json.dump(1) + "\n";
}

std::string hf_tokenizer_config(const TokenizerData& t, int64_t context) {
  // Any other class would rebuild the pipeline from the vocabulary in its own way.
  ordered_json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                       {"add_bos_token", t.add_bos},
                       {"add_eos_token", false},
                       {"clean_up_tokenization_spaces", false},
                       {"model_max_length", context}};
  const auto set = [&](const char* key, int64_t id) {
    if (has(t, id)) json[key] = text_of(t, id);
  };
  set("bos_token", t.bos);
  set("eos_token", t.eos);
  set("unk_token", t.unk);
  set("pad_token", t.pad);
  return json.dump(2) + "\n";
}

}  // namespace terse
