// A web server with fixed answers, on a free port of 127.0.0.1.
#pragma once

#include <map>
#include <string>
#include <thread>

namespace stagecoach::testing {

class HttpServer {
 public:
  // `answers`: the whole answer (status line, headers, body) to each path.
  explicit HttpServer(std::map<std::string, std::string> answers);
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  std::string url(const std::string& path) const;

 private:
  void serve();
  void answer(int connection) const;

  std::map<std::string, std::string> answers_;
  int socket_ = -1;
  int port_ = 0;
  std::thread thread_;
};

}  // namespace stagecoach::testing
