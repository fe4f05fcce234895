// The prepared data of a run: text (tokenizer and token shards) or images.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/state.h"
#include "trainer/data/examples.h"
#include "trainer/data/images.h"
#include "trainer/recipe/recipe.h"
#include "trainer/telemetry/progress.h"

namespace terse {

struct DataFiles {
  std::string train;
  std::string valid;
  int64_t vocab = 0;                // of a text
  int64_t begin = 1;                // id of its begin token
  std::optional<ImageShape> image;  // set: these are images

  // Opened anew. `context`: tokens of a window; images ignore it. Error(invalid_file).
  std::unique_ptr<const Examples> training(int64_t context) const;
  std::unique_ptr<const Examples> validation(int64_t context) const;
};

// What lies in a prepared folder: tokenizer.model, train.bin and valid.bin, or train.images and
// valid.images. Error(invalid_file) if it is not there.
DataFiles text_files(const std::string& folder);
DataFiles image_files(const std::string& folder);

// Makes tokenizer and shards of [data] text where they are not there yet; nothing for images.
// `between` is called now and then and may throw.
void prepare_text(const Recipe& recipe, const std::function<void()>& between, const Print& print);
// The recipe's data, prepared. Error(usage) if [model] says otherwise than the data.
DataFiles files_of(const Recipe& recipe);

// In a checkpoint: what an image is, so that a run's model can be built without its data.
void save_image(const ImageShape& image, StateWriter& state);
ImageShape load_image(const StateReader& state);

}  // namespace terse
