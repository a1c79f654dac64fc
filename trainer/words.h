// The words of options, reports and files for the values of enums: the only place where they stand.
// The command line looks values up in these tables; what is printed takes name_of().
#pragma once

#include <string_view>

#include "data/find.h"
#include "data/sampler.h"
#include "pipeline/schedule/schedule.h"
#include "trainer/job.h"
#include "trainer/learning_rate_request.h"

namespace stagecoach {

template <typename Value>
struct Word {
  std::string_view text;
  Value value;
};

inline constexpr Word<DataKind> kDataWords[] = {{"auto", DataKind::kAuto},
                                                {"cifar10", DataKind::kCifar10},
                                                {"synthetic", DataKind::kSynthetic}};
inline constexpr Word<Recompute> kRecomputeWords[] = {{"never", Recompute::kNever},
                                                      {"except_last", Recompute::kExceptLast},
                                                      {"always", Recompute::kAlways}};
inline constexpr Word<OptimizerKind> kOptimizerWords[] = {{"sgd", OptimizerKind::kSgd},
                                                          {"adam", OptimizerKind::kAdam}};
inline constexpr Word<LearningRateKind> kLearningRateWords[] = {
    {"constant", LearningRateKind::kConstant},
    {"step", LearningRateKind::kStep},
    {"milestones", LearningRateKind::kMilestones},
    {"cosine", LearningRateKind::kCosine}};
inline constexpr Word<InitScheme> kInitSchemeWords[] = {{"torch", InitScheme::kTorch},
                                                        {"kaiming", InitScheme::kKaiming}};
inline constexpr Word<LastBatch> kLastBatchWords[] = {{"drop", LastBatch::kDrop},
                                                      {"keep", LastBatch::kKeep}};
// Cuts have no word: they are numbers between commas.
inline constexpr Word<PartitionKind> kPartitionWords[] = {
    {"time", PartitionKind::kTime},
    {"uniform", PartitionKind::kUniform},
    {"parameters", PartitionKind::kParameters}};
inline constexpr Word<std::optional<Precision>> kPrecisionWords[] = {
    {"auto", std::nullopt},
    {name_of(Precision::kFp32), Precision::kFp32},
    {name_of(Precision::kTf32), Precision::kTf32},
    {name_of(Precision::kBf16), Precision::kBf16}};
inline constexpr Word<Convolution> kConvolutionWords[] = {{"auto", Convolution::kAuto},
                                                          {"direct", Convolution::kDirect},
                                                          {"winograd", Convolution::kWinograd}};
// Of a GPU's steps; on the CPU there is no word.
inline constexpr Word<Launch> kLaunchWords[] = {{"graph", Launch::kGraph},
                                                {"eager", Launch::kEager}};
inline constexpr Word<Transport> kTransportWords[] = {
    {"auto", Transport::kAuto}, {"threads", Transport::kThreads}, {"mpi", Transport::kMpi}};
// "cuda" may be followed by numbers: "cuda:0,1".
inline constexpr Word<DeviceRequest::Kind> kDeviceWords[] = {{"auto", DeviceRequest::Kind::kAuto},
                                                             {"cpu", DeviceRequest::Kind::kCpu},
                                                             {"cuda", DeviceRequest::Kind::kCuda}};

// The word of a value; "" where it has none.
template <typename Value, std::size_t count>
constexpr std::string_view word_of(const Word<Value> (&words)[count], const Value& value) {
  for (const Word<Value>& word : words) {
    if (word.value == value) return word.text;
  }
  return "";
}

constexpr std::string_view name_of(Recompute value) {
  return word_of(kRecomputeWords, value);
}
constexpr std::string_view name_of(LearningRateKind value) {
  return word_of(kLearningRateWords, value);
}
constexpr std::string_view name_of(PartitionKind value) {
  return word_of(kPartitionWords, value);
}
constexpr std::string_view name_of(Launch value) {
  return word_of(kLaunchWords, value);
}

}  // namespace stagecoach
