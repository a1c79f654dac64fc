// The MPI plug-in: a table of functions over the MPI that it is linked with.
#include <mpi.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "comm/mpi/mpi_api.h"

namespace stagecoach {
namespace {

MPI_Comm messages = MPI_COMM_NULL, notices = MPI_COMM_NULL;
std::vector<MPI_Comm> groups;       // by number
std::vector<MPI_Request> requests;  // by number; MPI_REQUEST_NULL: free

int keep(int code, MPI_Request request, int* number) {
  if (code != MPI_SUCCESS) return code;
  auto place = std::find(requests.begin(), requests.end(), MPI_REQUEST_NULL);
  if (place == requests.end()) place = requests.insert(requests.end(), MPI_REQUEST_NULL);
  *place = request;
  *number = static_cast<int>(place - requests.begin());
  return MPI_SUCCESS;
}

const char* library() {
  static const std::string text = [] {
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length = 0;
    MPI_Get_library_version(version, &length);
    const std::string all(version, static_cast<std::size_t>(length));
    std::string name = all.substr(0, all.find_first_of(",\n"));  // Open MPI goes on with its build
    constexpr std::string_view kOfMpich = " Version:\t";
    if (const auto at = name.find(kOfMpich); at != std::string::npos) {
      name.replace(at, kOfMpich.size(), " ");
    }
    return name;
  }();
  return text.c_str();
}

void error_text(int code, char* text, int capacity) {
  char all[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(code, all, &length);
  std::strncpy(text, all, static_cast<std::size_t>(capacity) - 1);
  text[capacity - 1] = '\0';
}

int start(int* rank, int* size) {
  int given = 0;
  int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &given);
  if (code == MPI_SUCCESS) code = MPI_Comm_dup(MPI_COMM_WORLD, &messages);
  if (code == MPI_SUCCESS) code = MPI_Comm_dup(MPI_COMM_WORLD, &notices);
  if (code != MPI_SUCCESS) return code;
  MPI_Comm_set_errhandler(messages, MPI_ERRORS_RETURN);
  MPI_Comm_set_errhandler(notices, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, rank);
  return MPI_Comm_size(MPI_COMM_WORLD, size);
}

int finish() {
  return MPI_Finalize();
}

int send(int to, int tag, const void* bytes, int count, int* number) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Isend(bytes, count, MPI_BYTE, to, tag, messages, &request);
  return keep(code, request, number);
}

int receive(int from, int tag, void* bytes, int count, int* number) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Irecv(bytes, count, MPI_BYTE, from, tag, messages, &request);
  return keep(code, request, number);
}

int send_notice(int to, const void* bytes, int count, int* number) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Isend(bytes, count, MPI_BYTE, to, 0, notices, &request);
  return keep(code, request, number);
}

int receive_notice(void* bytes, int count, int* number) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Irecv(bytes, count, MPI_BYTE, MPI_ANY_SOURCE, 0, notices, &request);
  return keep(code, request, number);
}

int make_group(const int* ranks, int count, int* group) {
  MPI_Group all = MPI_GROUP_NULL, members = MPI_GROUP_NULL;
  MPI_Comm made = MPI_COMM_NULL;
  int code = MPI_Comm_group(messages, &all);
  if (code == MPI_SUCCESS) code = MPI_Group_incl(all, count, ranks, &members);
  if (code == MPI_SUCCESS) code = MPI_Comm_create_group(messages, members, 0, &made);
  if (members != MPI_GROUP_NULL) MPI_Group_free(&members);
  if (all != MPI_GROUP_NULL) MPI_Group_free(&all);
  if (code != MPI_SUCCESS) return code;
  MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN);
  *group = static_cast<int>(groups.size());
  groups.push_back(made);
  return MPI_SUCCESS;
}

int add_up(int group, float* values, int count, int* number) {
  MPI_Request request = MPI_REQUEST_NULL;
  const int code = MPI_Iallreduce(MPI_IN_PLACE, values, count, MPI_FLOAT, MPI_SUM,
                                  groups[static_cast<std::size_t>(group)], &request);
  return keep(code, request, number);
}

int test(int capacity, int* ended, int* numbers, int* codes) {
  *ended = 0;
  for (int i = 0; i < static_cast<int>(requests.size()) && *ended < capacity; ++i) {
    if (requests[static_cast<std::size_t>(i)] == MPI_REQUEST_NULL) continue;
    int done = 0;
    const int code = MPI_Test(&requests[static_cast<std::size_t>(i)], &done, MPI_STATUS_IGNORE);
    if (code != MPI_SUCCESS) requests[static_cast<std::size_t>(i)] = MPI_REQUEST_NULL;
    if (done == 0 && code == MPI_SUCCESS) continue;
    numbers[*ended] = i;
    codes[(*ended)++] = code;
  }
  return MPI_SUCCESS;
}

int cancel(int number) {
  return MPI_Cancel(&requests[static_cast<std::size_t>(number)]);
}

}  // namespace
}  // namespace stagecoach

extern "C" const stagecoach::MpiApi* stagecoach_mpi_api() {
  using namespace stagecoach;
  static constexpr MpiApi kApi = {kMpiApiVersion, library, error_text,  start,          finish,
                                  send,           receive, send_notice, receive_notice, test,
                                  make_group,     add_up,  cancel};
  return &kApi;
}
