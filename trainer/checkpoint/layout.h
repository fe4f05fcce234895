// Names inside RUN/checkpoints; internal to trainer/checkpoint.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/file_system.h"

namespace terse::layout {

inline constexpr const char* kSharedFile = "shared.safetensors";
inline constexpr const char* kManifestFile = "manifest.json";
// Own values live in the rank file's metadata, their type in the key.
inline const std::string kInteger = "integer/";
inline const std::string kNumber = "number/";
inline const std::string kText = "text/";

std::string checkpoints(const std::string& run);
std::string step_name(int64_t step);       // "step-00000120"
std::string temporary_name(int64_t step);  // ".tmp-step-00000120"
std::string rank_file(int64_t rank);       // "rank-00003.safetensors"
// The steps of finished folders, newest first.
std::vector<int64_t> steps(const std::string& checkpoints);
// After `saved` was published: deletes the folders of later steps, which can only be there because
// they did not verify when the run resumed, and all but `keep` of the others (0 keeps them), each
// by a rename first.
void remove_old(FileSystem& fs, const std::string& checkpoints, int64_t saved, int64_t keep);

}  // namespace terse::layout
