// Values of options that are words: looked up in the tables of trainer/words.h, and nowhere else
// compared.
#pragma once

#include <string>
#include <vector>

#include "trainer/request.h"
#include "trainer/words.h"

namespace stagecoach {

// Throws UsageError "OPERATION: expected OPTION a, b or c, got 'WORD'", with a suggestion.
[[noreturn]] void throw_unknown_word(const std::string& operation, const std::string& option,
                                     const std::string& word,
                                     const std::vector<std::string>& words);

template <typename Value, std::size_t count>
std::vector<std::string> words_of(const Word<Value> (&table)[count]) {
  std::vector<std::string> words;
  for (const Word<Value>& word : table) words.emplace_back(word.text);
  return words;
}

// The value of `text`; UsageError where it has none.
template <typename Value, std::size_t count>
Value value_of(const std::string& operation, const std::string& option, const std::string& text,
               const Word<Value> (&table)[count]) {
  for (const Word<Value>& word : table) {
    if (word.text == text) return word.value;
  }
  throw_unknown_word(operation, option, text, words_of(table));
}

// UsageError unless `name` is one of `names`.
void check_name(const std::string& operation, const std::string& option, const std::string& name,
                const std::vector<std::string>& names);

// --partition: time, uniform, parameters, or cuts like "3,10". Throws UsageError.
PartitionRequest partition_of(const std::string& operation, const std::string& text);

// --replicas: of all stages, "2", or one number for each, "2,1"; powers of two. Throws UsageError.
std::vector<int> replicas_of(const std::string& operation, const std::string& text);

// --checkpoint-every: steps, "100", or a time: "30s", "10min", "2h". Throws UsageError.
CheckpointInterval interval_of(const std::string& operation, const std::string& text);

// A number of steps, "500", or of epochs, "2.5epochs". Throws UsageError naming the option.
Duration duration_of(const std::string& operation, const std::string& option,
                     const std::string& text);
// Several, between commas.
std::vector<Duration> durations_of(const std::string& operation, const std::string& option,
                                   const std::string& text);

// --device: auto, cpu, cuda, or GPUs by number, "cuda:0,1". Throws UsageError.
DeviceRequest device_of(const std::string& operation, const std::string& text);

}  // namespace stagecoach
