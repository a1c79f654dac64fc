// What the MPI plug-in gives: MPI's functions without its types, so that the program is built
// without MPI and runs with the one that started it. All are called by one thread.
#pragma once

#include <cstdint>

namespace stagecoach {

// Functions return 0 or a code of MPI's, for error_text().
struct MpiApi {
  std::int32_t version;      // of this table: kMpiApiVersion
  const char* (*library)();  // "Open MPI v4.1.4", "MPICH 4.0.2"
  void (*error_text)(int code, char* text, int capacity);

  int (*start)(int* rank, int* size);
  int (*finish)();

  // Begin a transfer, and give it a number. A notice is a message of its own kind, from anybody.
  int (*send)(int to, int tag, const void* bytes, int count, int* number);
  int (*receive)(int from, int tag, void* bytes, int count, int* number);
  int (*send_notice)(int to, const void* bytes, int count, int* number);
  int (*receive_notice)(void* bytes, int count, int* number);
  // The numbers of transfers that have ended, and their codes; numbers are then used again.
  int (*test)(int capacity, int* ended, int* numbers, int* codes);
  // Blocks until all of these ranks have called it; they make their groups in one order.
  int (*make_group)(const int* ranks, int count, int* group);
  // Begins to add up what all of the group have there, for each of them, in no order of its own.
  int (*add_up)(int group, float* values, int count, int* number);
  // Of a receive: test() tells when it has ended.
  int (*cancel)(int number);
};

inline constexpr std::int32_t kMpiApiVersion = 2;
// The plug-in's one symbol: const MpiApi* stagecoach_mpi_api().
inline constexpr const char* kMpiApiSymbol = "stagecoach_mpi_api";

}  // namespace stagecoach
