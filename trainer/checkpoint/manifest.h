// The manifest of a checkpoint: JSON with a checksum of itself in a last line.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace terse {

struct ManifestFile {
  std::string name;
  int64_t size = 0;
  uint64_t checksum = 0;
};

struct Manifest {
  int64_t version = 1;
  int64_t step = 0;
  int64_t ranks = 1;
  std::vector<ManifestFile> files;
  std::map<std::string, int64_t, std::less<>> integers;
  std::map<std::string, double, std::less<>> numbers;  // written in hexadecimal: bit for bit
  std::map<std::string, std::string, std::less<>> texts;

  std::string text() const;
  // Error(invalid_file) naming `path` and what is wrong with it.
  static Manifest parse(const std::string& text, const std::string& path);
};

}  // namespace terse
