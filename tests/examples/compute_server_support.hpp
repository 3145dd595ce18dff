// What the tests of the compute server share: the program itself, and clients of it. All is loopback.
#pragma once

#include <weft/weft.hpp>

#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "sanitizers.hpp"

namespace weft::test {

using namespace std::chrono_literals;

inline constexpr bool kIsSanitized = WEFT_ASAN || WEFT_TSAN;

inline bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

/// An HTTP answer as it came.
struct Reply {
    int status = 0;  ///< 0: none came
    std::string head;
    std::string body;

    explicit Reply(const std::string& text = {}) {
        std::size_t end = text.find("\r\n\r\n");
        if (text.rfind("HTTP/1.", 0) != 0 || end == std::string::npos) return;
        status = std::atoi(text.c_str() + 9);
        head = text.substr(0, end + 2);
        body = text.substr(end + 4);
    }
};

/// The program, on a free port. Killed at the end if it has not ended.
class ComputeServer {
public:
    explicit ComputeServer(const std::vector<std::string>& more = {}) {
        std::vector<std::string> arguments{COMPUTE_SERVER, "--port", "0"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        process_ = create_subprocess_exec(arguments, {.in = Stdio::devnull, .out = Stdio::pipe});
        std::string line = process_.out().readline();
        std::size_t at = line.find("http");
        if (at != std::string::npos) url_ = line.substr(at, line.size() - at - 1);
        port_ = std::atoi(line.substr(line.rfind(':') + 1).c_str());
        EXPECT_GT(port_, 0) << line;
    }

    int port() const { return port_; }
    std::string url(const std::string& target) const { return url_ + target; }
    void signal(int number) { process_.send_signal(number); }
    /// Waits for its end.
    int exit_status() { return process_.wait(); }

    /// What curl gets; `more` are further arguments of curl's.
    Reply curl(const std::string& target, const std::vector<std::string>& more = {}) const {
        std::vector<std::string> arguments{"curl", "-sS", "-i", "--max-time", "60"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        arguments.push_back(url(target));
        Process process =
            create_subprocess_exec(arguments, {.in = Stdio::devnull, .out = Stdio::pipe});
        Reply reply(process.communicate().first);
        EXPECT_EQ(process.wait(), 0) << "curl " << target;
        return reply;
    }
    TcpStream connect() const { return open_connection("127.0.0.1", port_); }
    /// These bytes on a connection of their own, and all that comes back.
    Reply say(const std::string& bytes) const {
        TcpStream stream = connect();
        stream.write(bytes);
        return Reply(stream.read());
    }
    Reply get(const std::string& target) const { return say(request(target)); }
    static std::string request(const std::string& target) {
        return "GET " + target + " HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
    }
    /// Waits until the metrics have this line.
    void await_metric(const std::string& line) const {
        while (!contains(get("/metrics").body, "\n" + line + "\n")) sleep(5ms);
    }

private:
    Process process_;
    std::string url_;
    int port_ = 0;
};

class ComputeServerTest : public ::testing::Test {
protected:
    template <class F>
    static void run(F&& body) {
        weft::run([&] { timeout(100s, std::forward<F>(body)); }, {.workers = 2});
    }
};

}  // namespace weft::test
