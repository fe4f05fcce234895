// The Keys that a recipe gives to its components (base/keys.h): reads one table, collects every
// problem, and remembers each key with its value, default, origin and manual line, so that the same
// binding also writes the resolved recipe and prints the manual.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/keys.h"
#include "trainer/recipe/document.h"

namespace terse {

// One key after binding.
struct BoundKey {
  std::string name;
  std::string value;     // TOML text
  std::string standard;  // the default's TOML text
  std::string origin;    // "default", "file" or "flag"
  std::string range;     // for the manual: "integer, 1 to 1000", "\"a\" | \"b\"", ...
  std::string doc;
};

class RecipeKeys final : public Keys {
 public:
  // Reads `table` of `document`, which may be missing there. Borrows both vectors.
  RecipeKeys(const Document& document, std::string table, std::vector<Problem>& problems);

  void flag(std::string_view name, bool& value, std::string_view doc) override;
  void integer(std::string_view name, int64_t& value, int64_t least, int64_t most,
               std::string_view doc) override;
  void number(std::string_view name, double& value, double least, double most,
              std::string_view doc) override;
  void text(std::string_view name, std::string& value, std::string_view doc) override;
  void choice(std::string_view name, std::string& value, std::vector<std::string> choices,
              std::string_view doc) override;
  void numbers(std::string_view name, std::vector<double>& value, std::string_view doc) override;
  // A single text counts as a list of one.
  void texts(std::string_view name, std::vector<std::string>& value, std::string_view doc) override;
  // Kept back when the key already has a problem of its own.
  void problem(std::string_view name, std::string message) override;

  // Reports the table's keys that nobody bound. To be called after all bindings.
  void report_unknown();

  const std::string& table() const { return table_; }
  const std::vector<BoundKey>& keys() const { return keys_; }
  // Where key `name` stands, or the table, or the file as a whole.
  Place place(std::string_view name) const;

 private:
  template <typename T>
  void bind(std::string_view name, T& value, std::string range, std::string_view doc,
            const std::function<bool(const Value&, T&, std::string&)>& read);
  void report(std::string_view name, std::string message);

  const Document* document_;
  const Table* entries_;  // nullptr: the table is not in the document
  std::string table_;
  std::vector<Problem>* problems_;
  std::vector<BoundKey> keys_;
  std::vector<std::string> faulty_;  // keys that have a problem
};

// "; did you mean 'x'?" for the nearest choice, or "".
std::string did_you_mean(std::string_view wrong, const std::vector<std::string>& choices);

}  // namespace terse
