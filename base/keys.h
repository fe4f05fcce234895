// Binding of a component's recipe keys.
//
// A component owns a plain struct of options with defaults and one function that names its keys:
//
//   struct ClipOptions {
//     double norm = 1.0;
//     void bind(Keys& keys) { keys.number("clip", norm, 0, 1e9, "largest global gradient norm"); }
//   };
//
// The same `bind` reads a recipe, applies --set, writes the resolved recipe and prints the manual,
// depending on which Keys it is given (trainer/recipe.h). No component ever sees TOML.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace terse {

class Keys {
 public:
  virtual ~Keys() = default;
  // Each binds one key. The destination holds the default; it changes only when the key is given
  // and valid. `doc` is one line for the manual. Bounds are inclusive.
  virtual void flag(std::string_view name, bool& value, std::string_view doc) = 0;
  virtual void integer(std::string_view name, int64_t& value, int64_t least, int64_t most,
                       std::string_view doc) = 0;
  virtual void number(std::string_view name, double& value, double least, double most,
                      std::string_view doc) = 0;
  virtual void text(std::string_view name, std::string& value, std::string_view doc) = 0;
  // A text that must be one of `choices`; a wrong one is answered with the nearest.
  virtual void choice(std::string_view name, std::string& value, std::vector<std::string> choices,
                      std::string_view doc) = 0;
  virtual void numbers(std::string_view name, std::vector<double>& value, std::string_view doc) = 0;
  virtual void texts(std::string_view name, std::vector<std::string>& value,
                     std::string_view doc) = 0;
  // Reports a value that is wrong only in context (e.g. width not a multiple of heads). Collected
  // with all other errors of the recipe; places are those of key `name`.
  virtual void problem(std::string_view name, std::string message) = 0;
};

// The choice most like `wrong` (edit distance), or empty if none is near.
std::string nearest(std::string_view wrong, const std::vector<std::string>& choices);

}  // namespace terse
