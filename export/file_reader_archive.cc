// terse's archive, alone or in an nm folder beside its dense twin.
#include <memory>

#include "base/error.h"
#include "export/file_reader.h"
#include "export/import.h"
#include "export/import_archive.h"
#include "export/inspect_parts.h"
#include "export/llama_archive.h"

namespace terse {
namespace {

std::string in_folder(const std::string& path) {
  return fmt::format("{}/{}", path, kNmFile);
}
bool is_file(const std::string& path) {
  return starts_with_bytes(path, 0, "TERSEARC");
}
bool is_folder(const std::string& path) {
  return FileSystem::real().exists(in_folder(path));
}

std::shared_ptr<ArchiveFile> verified(const std::string& path) {
  auto file = std::make_shared<ArchiveFile>(path);
  file->verify_checksums();
  return file;
}

StoredTensors stored_in_file(const std::string& path, const LlamaShape&) {
  const auto file = verified(path);
  StoredTensors all;
  for (const std::string& name : archive_weights(*file)) {
    ArtifactWeight weight = archive_weight(file, name);
    std::vector<int64_t> shape = weight.shape;
    const std::optional<InputFormat> input = weight.input;
    all[name] = {std::move(shape),
                 [weight = std::move(weight)] { return effective_values(weight); }, input};
  }
  return all;
}

// The archive's tensors where the twin says the same; others are not equal to anything.
StoredTensors stored_in_folder(const std::string& path, const LlamaShape& shape) {
  StoredTensors all = stored_in_file(in_folder(path), shape);
  StoredTensors twin = kHfFolderReader.stored(path, shape);
  for (auto& [name, tensor] : twin) {
    const auto found = all.find(name);
    if (found == all.end() || found->second.shape != tensor.shape) {
      all[name] = std::move(tensor);  // the comparison names it
      continue;
    }
    found->second.values = [ours = std::move(found->second.values),
                            theirs = std::move(tensor.values)] {
      std::vector<float> values = ours();
      return same_values(values, theirs()) ? values : std::vector<float>();
    };
  }
  for (auto& [name, tensor] : all)
    if (!twin.contains(name)) tensor.shape.clear();
  return all;
}

Artifact import_file(const std::string& path) {
  return import_archive(verified(path));
}
Artifact import_folder(const std::string& path) {
  return import_file(in_folder(path));
}

InspectTensor as_it_stands(const ArchiveTensor& tensor) {
  return {tensor.name,
          fmt::format("{}{}", dtype_name(tensor.dtype), tensor.coded ? "*" : ""),
          tensor.shape,
          static_cast<int64_t>(tensor.stored.size()),
          {}};
}

// A weight as the matrix that it is, with all that it takes in the file; "*": entropy-coded.
InspectTensor inspect_weight(const std::shared_ptr<const ArchiveFile>& file,
                             const std::string& name) {
  const ArtifactWeight weight = archive_weight(file, name);
  InspectTensor out{name, std::string(dtype_name(weight.dtype)), weight.shape, 0, {}};
  if (weight.input) out.input = to_string(*weight.input);
  if (weight.compressed()) {
    out.type = code_type(*weight.format);
    CodeCounts counts;
    counts.add(weight.codes().codes);
    out.histogram = counts.histogram();
  }
  bool coded = false;
  for (const ArchiveTensor* part : archive_parts(*file, name)) {
    out.bytes += static_cast<int64_t>(part->stored.size());
    coded |= part->coded;
  }
  if (coded) out.type += "*";
  return out;
}

void add_weights(Inspection& out, const std::shared_ptr<const ArchiveFile>& file) {
  for (const std::string& name : archive_weights(*file)) {
    out.tensors.push_back(inspect_weight(file, name));
    out.parameters += out.tensors.back().elements();
  }
  if (const ArchiveTensor* tokenizer = file->find("tokenizer.model"); tokenizer != nullptr)
    out.tensors.push_back(as_it_stands(*tokenizer));
}

Inspection inspect_archive(const std::string& path) {
  const auto file = std::make_shared<const ArchiveFile>(path);
  Inspection out;
  out.path = path;
  out.format = kArchiveReader.name;
  out.checksums = checksum_state(*file);
  out.bytes = file_bytes(path);
  for (const auto& [key, value] : file->metadata())
    out.metadata.emplace_back(key, shortened(value));
  try {
    if (out.checksums == "ok") add_weights(out, file);
  } catch (const Error& e) {  // tensors that are no model's: as they stand
    out.tensors.clear();
    out.parameters = 0;
    out.metadata.emplace_back("not decoded", e.what());
  }
  if (!out.tensors.empty()) return out;
  for (const ArchiveTensor& tensor : file->tensors()) {
    out.tensors.push_back(as_it_stands(tensor));
    out.parameters += tensor.numel();
  }
  return out;
}

Inspection inspect_folder(const std::string& path) {
  return inspect_archive(in_folder(path));
}

Metadata metadata_of_file(const std::string& path) {
  return archive_run_metadata(ArchiveFile(path));
}
Metadata metadata_of_folder(const std::string& path) {
  return metadata_of_file(in_folder(path));
}

}  // namespace

const FileReader kArchiveReader = {"archive",   is_file,         stored_in_file,
                                   import_file, inspect_archive, metadata_of_file};
const FileReader kNmFolderReader = {"nm",          is_folder,      stored_in_folder,
                                    import_folder, inspect_folder, metadata_of_folder};

}  // namespace terse
