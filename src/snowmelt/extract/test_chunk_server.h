// For tests: an HTTP server of one's own on localhost that answers as told, and can break off in the middle.
#pragma once

#include <libdeflate.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace snowmelt {

inline std::string gzip(const std::string& text) {
  libdeflate_compressor* compressor = libdeflate_alloc_compressor(1);
  std::string out(libdeflate_gzip_compress_bound(compressor, text.size()), '\0');
  out.resize(libdeflate_gzip_compress(compressor, text.data(), text.size(), out.data(), out.size()));
  libdeflate_free_compressor(compressor);
  return out;
}

struct TestAnswer {
  int status = 200;
  std::string body = {};
  std::string headers = {};  // further ones, each with CRLF
  int64_t cut_at = -1;       // closes the connection after so many bytes of the body
  int delay_ms = 0;          // before the answer
};

class TestChunkServer {
 public:
  // `answer(path, head)` runs on the connection's thread.
  using Handler = std::function<TestAnswer(const std::string& path, const std::string& head)>;

  explicit TestChunkServer(Handler handler) : handler_(std::move(handler)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 64) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      throw std::runtime_error("the test's server cannot listen");
    }
    port_ = ntohs(address.sin_port);
    acceptor_ = std::jthread([this] { accept_all(); });
  }

  ~TestChunkServer() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    ending_.notify_all();
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    {
      const std::lock_guard lock(mutex_);
      for (const int connection : connections_) ::shutdown(connection, SHUT_RDWR);
    }
    threads_.clear();
  }

  std::string url(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(port_) + "/" + path; }
  int requests() const { return requests_; }

 private:
  void accept_all() {
    for (;;) {
      const int connection = ::accept(listener_, nullptr, nullptr);
      if (connection < 0 || stopping_) return;
      const std::lock_guard lock(mutex_);
      connections_.push_back(connection);
      threads_.emplace_back([this, connection] { serve(connection); });
    }
  }

  // One request a connection.
  void serve(int connection) {
    std::string head;
    char buffer[4096];
    while (head.find("\r\n\r\n") == std::string::npos) {
      const ssize_t got = ::recv(connection, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      head.append(buffer, static_cast<size_t>(got));
      if (head.starts_with('\x16')) {  // a TLS greeting: told in plain text that there is none here
        ::send(connection, "HTTP/1.1 400 X\r\n\r\n", 18, MSG_NOSIGNAL);
        break;
      }
    }
    if (head.starts_with("GET /")) {
      ++requests_;
      const TestAnswer answer = handler_(head.substr(5, head.find(' ', 5) - 5), head);
      {
        std::unique_lock lock(mutex_);
        ending_.wait_for(lock, std::chrono::milliseconds(answer.delay_ms), [&] { return stopping_.load(); });
      }
      std::string text = "HTTP/1.1 " + std::to_string(answer.status) +
                         " X\r\nConnection: close\r\nContent-Length: " + std::to_string(answer.body.size()) + "\r\n" +
                         answer.headers + "\r\n";
      text += answer.cut_at < 0 ? answer.body : answer.body.substr(0, static_cast<size_t>(answer.cut_at));
      for (size_t sent = 0; sent < text.size();) {
        const ssize_t wrote = ::send(connection, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
        if (wrote <= 0) break;
        sent += static_cast<size_t>(wrote);
      }
    }
    const std::lock_guard lock(mutex_);
    std::erase(connections_, connection);
    ::close(connection);
  }

  Handler handler_;
  int listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> requests_{0};
  std::mutex mutex_;
  std::condition_variable ending_;
  std::vector<int> connections_;
  std::vector<std::jthread> threads_;
  std::jthread acceptor_;
};

}  // namespace snowmelt
