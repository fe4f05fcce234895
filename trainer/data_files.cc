#include "trainer/data_files.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "trainer/data/prepare.h"
#include "trainer/data/text_windows.h"
#include "trainer/data/tokenizer.h"

namespace terse {
namespace {

std::unique_ptr<const Examples> open(const DataFiles& files, const std::string& path,
                                     int64_t context, WindowUse use) {
  if (!files.image)
    return std::make_unique<TextWindows>(TokenShard(path), context, files.begin, use);
  auto images = std::make_unique<ImageFile>(path);
  if (!(images->shape() == *files.image))
    fail(ExitCode::invalid_file, "{}: its images are not of the kind in {}", path, files.valid);
  return images;
}

}  // namespace

std::unique_ptr<const Examples> DataFiles::training(int64_t context) const {
  return open(*this, train, context, WindowUse::training);
}

std::unique_ptr<const Examples> DataFiles::validation(int64_t context) const {
  return open(*this, valid, context, WindowUse::validation);
}

DataFiles text_files(const std::string& folder) {
  const Tokenizer tokenizer = Tokenizer::load(folder + "/tokenizer.model");
  return {folder + "/train.bin", folder + "/valid.bin", tokenizer.vocab(),
          std::max(tokenizer.bos(), 0), std::nullopt};
}

DataFiles image_files(const std::string& folder) {
  DataFiles files{folder + "/train.images", folder + "/valid.images", 0, 0, std::nullopt};
  if (!FileSystem::real().exists(files.valid))
    fail(ExitCode::invalid_file,
         "{}: no such file; a folder of images holds train.images and valid.images, as "
         "scripts/digits writes them",
         files.valid);
  files.image = ImageFile(files.valid).shape();
  return files;
}

void prepare_text(const Recipe& recipe, const std::function<void()>& between, const Print& print) {
  const DataOptions& data = recipe.data;
  if (data.text.empty()) return;
  PrepareOptions options;
  options.texts = data.text;
  options.out = data.dir;
  options.vocab = data.vocab;
  options.valid = data.valid;
  options.tokenizer = data.tokenizer;
  options.context = recipe.model.llama.context;
  const DataSummary summary = prepare_data(options, [&](const std::string&, double) { between(); });
  print(fmt::format("data         {}\n", summary.to_text()));
}

DataFiles files_of(const Recipe& recipe) {
  if (recipe.model.images()) return image_files(recipe.data.dir);
  const DataFiles files = text_files(recipe.data.dir);
  const int64_t vocab = recipe.model.llama.vocab;
  if (vocab != 0 && vocab != files.vocab)
    fail(ExitCode::usage,
         "[model] vocab = {}, but the tokenizer in {} has {} pieces; leave the key out (0) or make "
         "them equal",
         vocab, recipe.data.dir, files.vocab);
  return files;
}

void save_image(const ImageShape& image, StateWriter& state) {
  state.value(Scope::shared, "image/channels", image.channels);
  state.value(Scope::shared, "image/height", image.height);
  state.value(Scope::shared, "image/width", image.width);
  state.value(Scope::shared, "image/classes", image.classes);
  state.value(Scope::shared, "image/top", image.top);
}

ImageShape load_image(const StateReader& state) {
  const auto read = [&](const char* name) { return state.require_integer(Scope::shared, name); };
  return {read("image/channels"), read("image/height"), read("image/width"), read("image/classes"),
          read("image/top")};
}

}  // namespace terse
