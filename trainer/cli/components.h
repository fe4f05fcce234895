// The parts of `terse lab` and `terse bench`, one function each.
#pragma once
#include "trainer/cli/arguments.h"

namespace terse {

int lab_exchange_verb(const CommonArguments& common, const LabArguments& arguments);
int lab_encode_verb(const CommonArguments& common, const LabArguments& arguments);
int lab_mask_verb(const CommonArguments& common, const LabArguments& arguments);
int lab_optimize_verb(const CommonArguments& common, const LabArguments& arguments);
int bench_comm_verb(const CommonArguments& common, const BenchArguments& arguments);
int bench_exchange_verb(const CommonArguments& common, const BenchArguments& arguments);
int bench_export_verb(const CommonArguments& common, const BenchArguments& arguments);
int bench_quant_verb(const CommonArguments& common, const BenchArguments& arguments);
int bench_sparse_verb(const CommonArguments& common, const BenchArguments& arguments);
int bench_train_verb(const CommonArguments& common, const BenchArguments& arguments);

}  // namespace terse
