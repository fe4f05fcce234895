// Numbers as people read them. All return plain ASCII of bounded width.
#pragma once
#include <string>
#include <string_view>

namespace terse {

std::string format_bytes(double bytes);       // "812 B", "1.53 MB": decimal units, 3 digits
std::string format_count(double count);       // "987", "41.2k", "6.81M", "1.20G"
std::string format_seconds(double seconds);   // "183 ms", "12.4 s", "5m44s", "2h03m", "3d04h"
std::string format_loss(double loss);         // "2.8311"; "nan" where it is not finite
std::string format_perplexity(double value);  // "28.091"
std::string format_accuracy(double share);    // 0.9722: "97.22 %"; "-" below 0
std::string format_number(double value);      // up to 4 significant digits, no exponent below 1e6
std::string format_factor(double factor);     // "x28.4"
// The text, cut to `width` characters with ".." in its middle.
std::string shorten(std::string_view text, int width);

}  // namespace terse
