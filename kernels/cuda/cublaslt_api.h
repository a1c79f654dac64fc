// The functions of cuBLASLt that Stagecoach calls, looked up when first needed: a program that was
// built with CUDA also starts where cuBLASLt is not installed.
#pragma once

#include <cublasLt.h>

#include <source_location>
#include <string>

namespace stagecoach::cuda {

struct CublasLtApi {
  decltype(&::cublasLtGetVersion) get_version;
  decltype(&::cublasLtGetStatusName) get_status_name;
  decltype(&::cublasLtGetStatusString) get_status_string;
  decltype(&::cublasLtCreate) create;
  decltype(&::cublasLtDestroy) destroy;
  decltype(&::cublasLtMatmulDescCreate) create_operation;
  decltype(&::cublasLtMatmulDescDestroy) destroy_operation;
  decltype(&::cublasLtMatmulDescSetAttribute) set_operation;
  decltype(&::cublasLtMatmulDescGetAttribute) get_operation;
  decltype(&::cublasLtMatrixLayoutCreate) create_layout;
  decltype(&::cublasLtMatrixLayoutDestroy) destroy_layout;
  decltype(&::cublasLtMatrixLayoutGetAttribute) get_layout;
  decltype(&::cublasLtMatmulPreferenceCreate) create_preference;
  decltype(&::cublasLtMatmulPreferenceDestroy) destroy_preference;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) set_preference;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) choose_algorithm;
  decltype(&::cublasLtMatmul) multiply;
};

// Loads cuBLASLt at the first call; from any thread. Throws Error when it is missing or another
// major version than the headers of this build.
const CublasLtApi& cublaslt();

// Of the library that was loaded: "13.1.0".
std::string cublaslt_version_text();

// Throws Error naming the call, the status by its symbol, its text and the place, unless `status`
// is success.
void check_cublaslt(cublasStatus_t status, const char* call,
                    std::source_location place = std::source_location::current());

}  // namespace stagecoach::cuda

#define STAGECOACH_CUBLASLT_CHECK(call) ::stagecoach::cuda::check_cublaslt((call), #call)
