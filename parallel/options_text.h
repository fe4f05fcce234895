// Options that were filled in by a program, checked as those of a recipe are.
#pragma once
#include <string>
#include <vector>

#include "base/keys.h"

namespace terse {

// Writes one line "[table] key = value" for each bound key and collects what is wrong: bounds,
// choices, and what check() reports.
class OptionsText final : public Keys {
 public:
  // Binds and checks a copy of `options`.
  template <typename Options>
  void add(std::string table, Options options) {
    table_ = std::move(table);
    options.bind(*this);
    options.check(*this);
  }

  const std::string& text() const { return text_; }
  const std::string& problems() const { return problems_; }  // one line each, or ""

  void flag(std::string_view name, bool& value, std::string_view doc) override;
  void integer(std::string_view name, int64_t& value, int64_t least, int64_t most,
               std::string_view doc) override;
  void number(std::string_view name, double& value, double least, double most,
              std::string_view doc) override;
  void text(std::string_view name, std::string& value, std::string_view doc) override;
  void choice(std::string_view name, std::string& value, std::vector<std::string> choices,
              std::string_view doc) override;
  void numbers(std::string_view name, std::vector<double>& value, std::string_view doc) override;
  void texts(std::string_view name, std::vector<std::string>& value, std::string_view doc) override;
  void problem(std::string_view name, std::string message) override;

 private:
  void line(std::string_view name, const std::string& value);

  std::string table_;
  std::string text_;
  std::string problems_;
};

}  // namespace terse
