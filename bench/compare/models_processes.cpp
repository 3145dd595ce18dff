// Processes without any framework: workers forked before anything else, each at the end of a socket
// pair.
//
// The parent sends a task's number, the worker answers with the result and, for the shared count,
// with its words: that copying is what processes cost where state is shared. Each worker has one
// more task waiting in its socket, so that it never idles between an answer and the next question.
// Socket pairs and not pipes, since writing to a worker that died must be an error here, not a
// SIGPIPE.
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "format.hpp"
#include "models.hpp"

namespace weft_compare {
namespace {

constexpr std::size_t kTasksAhead = 2;

struct Answer {
    std::uint64_t task;
    TaskResult result;
    std::uint64_t words_bytes;  // how much follows
};

void send_all(int socket, const void* data, std::size_t size) {
    const char* at = static_cast<const char*>(data);
    while (size > 0) {
        const ssize_t sent = ::send(socket, at, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) throw std::system_error(errno, std::generic_category(), "send");
        at += sent;
        size -= static_cast<std::size_t>(sent);
    }
}

// False where the other side has closed before the first byte.
bool receive_all(int socket, void* data, std::size_t size) {
    char* at = static_cast<char*>(data);
    for (std::size_t got = 0; got < size;) {
        const ssize_t received = ::recv(socket, at + got, size - got, 0);
        if (received < 0 && errno == EINTR) continue;
        if (received < 0) throw std::system_error(errno, std::generic_category(), "recv");
        if (received == 0) return false;
        got += static_cast<std::size_t>(received);
    }
    return true;
}

// count, length, characters; count, length, characters; ...
std::string pack(const FileWords& words) {
    std::string packed;
    const auto number = [&](std::uint64_t value) {
        packed.append(reinterpret_cast<const char*>(&value), sizeof value);
    };
    for (const auto& [word, count] : words.entries()) {
        number(count);
        number(word.text.size());
        packed += word.text;
    }
    return packed;
}

void unpack(std::string_view packed, SharedWords& words) {
    const auto number = [&] {
        std::uint64_t value = 0;
        std::memcpy(&value, packed.data(), sizeof value);
        packed.remove_prefix(sizeof value);
        return value;
    };
    while (!packed.empty()) {
        const std::uint64_t count = number();
        const std::uint64_t length = number();
        words.add(Word(packed.substr(0, length)), count);
        packed.remove_prefix(length);
    }
}

void serve(const Plan& plan, int socket) {
    SharedWords unused;
    WordLocks unused_locks;
    std::uint64_t task = 0;
    while (receive_all(socket, &task, sizeof task)) {
        Answer answer{task, {}, 0};
        std::string packed;
        if (plan.workload == Workload::shared) {
            FileWords words;
            answer.result = count_file(plan.path_of(task), words);
            packed = pack(words);
        } else {
            answer.result = blocking_task(plan, task, unused, unused_locks);
        }
        answer.words_bytes = packed.size();
        send_all(socket, &answer, sizeof answer);
        send_all(socket, packed.data(), packed.size());
    }
}

// Never returns into the parent's program, whatever happens.
[[noreturn]] void serve_and_exit(const Plan& plan, int socket) noexcept {
    try {
        serve(plan, socket);
        ::_exit(0);
    } catch (const std::exception& error) {
        fmt::print(stderr, "a worker process failed: {}\n", error.what());
        ::_exit(1);
    }
}

class Processes {
public:
    explicit Processes(Run& run) : run_(run) {
        for (unsigned i = 0; i < run.plan.workers; ++i) start_worker();
    }

    ~Processes() {
        for (const pollfd& socket : sockets_) ::close(socket.fd);
        for (const pid_t worker : workers_) ::waitpid(worker, nullptr, 0);
    }

    void do_all_tasks() {
        for (std::size_t ahead = 0; ahead < kTasksAhead; ++ahead) {
            for (const pollfd& socket : sockets_) send_next(socket.fd);
        }
        while (answered_ < run_.plan.tasks) {
            if (::poll(sockets_.data(), sockets_.size(), -1) < 0 && errno != EINTR) {
                throw std::system_error(errno, std::generic_category(), "poll");
            }
            for (std::size_t i = 0; i < sockets_.size(); ++i) {
                if (sockets_[i].revents != 0) take_answer(i);
            }
        }
    }

private:
    void start_worker() {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
            throw std::system_error(errno, std::generic_category(), "socketpair");
        }
        const pid_t worker = ::fork();
        if (worker < 0) throw std::system_error(errno, std::generic_category(), "fork");
        if (worker == 0) {
            // The parent's ends would keep the other workers from seeing that the parent is gone.
            for (const pollfd& socket : sockets_) ::close(socket.fd);
            ::close(ends[0]);
            serve_and_exit(run_.plan, ends[1]);
        }
        ::close(ends[1]);
        workers_.push_back(worker);
        sockets_.push_back({ends[0], POLLIN, 0});
    }

    void send_next(int socket) {
        if (sent_ == run_.plan.tasks) return;
        const std::uint64_t task = sent_++;
        send_all(socket, &task, sizeof task);
    }

    void take_answer(std::size_t worker) {
        const int socket = sockets_[worker].fd;
        Answer answer{};
        if (!receive_all(socket, &answer, sizeof answer)) worker_died(worker);
        packed_.resize(answer.words_bytes);
        if (!packed_.empty() && !receive_all(socket, packed_.data(), packed_.size())) {
            worker_died(worker);
        }
        send_next(socket);
        unpack(packed_, run_.words);
        run_.results[answer.task] = answer.result;
        ++answered_;
    }

    [[noreturn]] void worker_died(std::size_t worker) {
        int status = 0;
        ::waitpid(workers_[worker], &status, 0);
        throw std::runtime_error(
            WIFSIGNALED(status)
                ? fmt::format("a worker process died: {}", signal_text(WTERMSIG(status)))
                : fmt::format("a worker process ended with status {}", WEXITSTATUS(status)));
    }

    Run& run_;
    std::vector<pid_t> workers_;
    std::vector<pollfd> sockets_;
    std::string packed_;
    std::size_t sent_ = 0;
    std::size_t answered_ = 0;
};

}  // namespace

void run_processes(Run& run) {
    Processes processes(
        run);  // before the heartbeat: a fork would copy its thread's locks, not the thread
    const ThreadHeartbeat heartbeat(run.lag);
    processes.do_all_tasks();
    run.stopwatch.stop();
}

}  // namespace weft_compare
