// The verbs of the command line. Each does what its arguments ask, prints to standard output (with
// --json one JSON value and nothing else) and returns the exit code; errors are thrown.
//
// Bodies: prepare, plan, inspect, doctor, bench and lab here in trainer/cli/; train, resume,
// export, verify, eval and report in trainer/.
#pragma once
#include "trainer/cli/arguments.h"

namespace terse {

int verb_prepare(const CommonArguments& common, const PrepareArguments& arguments);
int verb_train(const CommonArguments& common, const TrainArguments& arguments);
int verb_resume(const CommonArguments& common, const ResumeArguments& arguments);
int verb_export(const CommonArguments& common, const ExportArguments& arguments);
int verb_verify(const CommonArguments& common, const VerifyArguments& arguments);
int verb_eval(const CommonArguments& common, const EvalArguments& arguments);
int verb_report(const CommonArguments& common, const ReportArguments& arguments);
int verb_inspect(const CommonArguments& common, const InspectArguments& arguments);
int verb_doctor(const CommonArguments& common, const DoctorArguments& arguments);
int verb_bench(const CommonArguments& common, const BenchArguments& arguments);
int verb_plan(const CommonArguments& common, const PlanArguments& arguments);
int verb_lab(const CommonArguments& common, const LabArguments& arguments);

}  // namespace terse
