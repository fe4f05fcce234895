#include "trainer/teacher.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "base/checksum.h"
#include "base/error.h"
#include "trainer/closing.h"
#include "trainer/model/ops/distill_loss.h"
#include "trainer/snapshot.h"

namespace terse {
namespace {

// What a student and its teacher are compared by.
struct Traits {
  const char* kind;
  int64_t classes, layers, width;
  int64_t context;  // positions it can run
};

Traits traits_of(const ModelShape& shape) {
  if (const auto* m = std::get_if<LlamaShape>(&shape))
    return {"Llama", m->vocab, m->layers, m->width, m->context};
  const auto& m = std::get<VitShape>(shape);
  return {"vision transformer", m.classes, m.layers, m.width, m.patches()};
}

void check_fit(const DistillOptions& options, const ModelShape& student_shape,
               const ModelShape& teacher_shape) {
  const Traits student = traits_of(student_shape), teacher = traits_of(teacher_shape);
  const auto refuse = [&](const std::string& why) {
    fail(ExitCode::usage, "[distill] teacher = \"{}\" cannot teach this model: {}", options.teacher,
         why);
  };
  if (student_shape.index() != teacher_shape.index())
    refuse(fmt::format("it is a {}, the student a {}", teacher.kind, student.kind));
  if (student.classes != teacher.classes)
    refuse(
        fmt::format("it chooses among {} classes, the student among {}; train both on the same "
                    "prepared data",
                    teacher.classes, student.classes));
  if (teacher.context < student.context)
    refuse(fmt::format("its context is {}, the student's {}", teacher.context, student.context));
  if (options.squarehead > 0 &&
      (student.layers != teacher.layers || student.width != teacher.width))
    refuse(
        fmt::format("squarehead compares layer by layer, and it has {} layers of width {}, the "
                    "student {} of {}; set squarehead = 0",
                    teacher.layers, teacher.width, student.layers, student.width));
}

uint64_t checksum_of(const Artifact& artifact) {
  Checksum sum;
  for (const ArtifactWeight& weight : artifact.weights) {
    const std::vector<float> values = effective_values(weight);
    sum.update(std::as_bytes(std::span(weight.name)));
    sum.update(std::as_bytes(std::span(values)));
    const std::string input = weight.input ? to_string(*weight.input) : "";
    sum.update(std::as_bytes(std::span(input)));
  }
  sum.update(std::as_bytes(std::span(&artifact.act_bits, 1)));
  return sum.value();
}

}  // namespace

Teacher::Teacher(const DistillOptions& options, const ModelShape& student,
                 const ComputeOptions& compute)
    : options_(options) {
  const Served served = served_by(options.teacher);
  check_fit(options, student, shape_of(served.artifact));
  model_ = model_of(served.artifact, compute);
  checksum_ = checksum_of(served.artifact);
}

at::Tensor Teacher::loss(Model& student, const at::Tensor& batch) {
  const bool layers = options_.squarehead > 0;
  Outputs taught;
  {
    const at::NoGradGuard no_gradients;
    taught = model_->run(batch, layers);
  }
  Outputs out = student.run(batch, layers);
  at::Tensor loss = distill_cross_entropy(
      out.logits, student.targets(batch), taught.logits,
      {.task = options_.task, .logits = options_.logits, .temperature = options_.temperature});
  if (layers) loss = loss + squarehead(out.hidden, taught.hidden) * options_.squarehead;
  return loss;
}

void Teacher::require_saved(const StateReader& state) const {
  const auto saved = state.text(Scope::shared, "trainer/teacher");
  if (saved == checksum_hex(checksum_)) return;
  fail(ExitCode::invalid_file,
       "[distill] teacher = \"{}\" has checksum {}, the checkpoint was trained with {}; name the "
       "same teacher with --set distill.teacher=PATH, or start a new run",
       options_.teacher, checksum_hex(checksum_), saved ? *saved : "no teacher");
}

std::unique_ptr<Teacher> make_teacher(const DistillOptions& options, const ModelShape& student,
                                      const ComputeOptions& compute) {
  if (!options.enabled()) return nullptr;
  return std::make_unique<Teacher>(options, student, compute);
}

}  // namespace terse
