// Processes without any framework: workers forked before anything else, each at the end of a socket
// pair.
//
// The parent sends a task's number, the worker answers with the result and, for the shared count,
// with its words: that copying is what processes cost where state is shared. Each worker has one
// more task waiting in its socket, so that it never idles between an answer and the next question.
// Not where tasks have a time limit: whose turn it is would be anybody's guess. A worker that exceeds
// it is killed, and another one forked in its place. Nor where a question is a large buffer: the parent
// would send to a worker that does not read before its own answer is read.
// Socket pairs and not pipes, since writing to a worker that died must be an error here, not a
// SIGPIPE.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child_process.hpp"
#include "format.hpp"
#include "models.hpp"

namespace weft_compare {
namespace {

constexpr std::size_t kTasksAhead = 2;
constexpr Clock::time_point kNever = Clock::time_point::max();

struct Answer {
    std::uint64_t task;
    TaskResult result;
    std::uint64_t payload_bytes;  // how much follows
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
        if (plan.workload == Workload::buffer) {
            packed.resize(plan.buffer_bytes);
            if (!receive_all(socket, packed.data(), packed.size())) return;
            const auto buffer = std::as_writable_bytes(std::span(packed));
            recode(buffer, buffer);
        } else if (plan.workload == Workload::shared) {
            FileWords words;
            answer.result = count_file(plan.path_of(task), words);
            packed = pack(words);
        } else {
            answer.result = blocking_task(plan, task, unused, unused_locks);
        }
        answer.payload_bytes = packed.size();
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
    explicit Processes(Run& run)
        : run_(run), workers_(run.plan.workers), sockets_(run.plan.workers, {-1, POLLIN, 0}) {
        for (unsigned i = 0; i < run.plan.workers; ++i) start_worker(i);
    }

    ~Processes() {
        for (const Worker& worker : workers_) {
            // Nothing but its end would stop it, if an error has brought us here.
            if (worker.due != kNever) ::kill(worker.pid, SIGKILL);
        }
        for (const pollfd& socket : sockets_) ::close(socket.fd);
        for (const Worker& worker : workers_) ::waitpid(worker.pid, nullptr, 0);
    }

    void do_all_tasks() {
        for (std::size_t ahead = 0; ahead < (one_at_a_time() ? 1 : kTasksAhead); ++ahead) {
            for (std::size_t i = 0; i < workers_.size(); ++i) send_next(i);
        }
        while (answered_ < run_.plan.tasks) {
            if (::poll(sockets_.data(), sockets_.size(), patience_ms()) < 0 && errno != EINTR) {
                throw std::system_error(errno, std::generic_category(), "poll");
            }
            for (std::size_t i = 0; i < sockets_.size(); ++i) {
                if (sockets_[i].revents != 0) {
                    take_answer(i);
                } else if (workers_[i].due <= Clock::now()) {
                    replace(i);
                }
            }
        }
    }

private:
    struct Worker {
        pid_t pid = -1;
        std::size_t task = 0;            // the one that has the time limit
        Clock::time_point due = kNever;  // when it is over
    };

    bool limited() const { return run_.plan.task_limit_ms > 0; }
    bool one_at_a_time() const { return limited() || run_.plan.workload == Workload::buffer; }

    // Until the first time limit is over; rounded up, for poll would otherwise wake too early and spin.
    int patience_ms() const {
        const auto first =
            std::min_element(workers_.begin(), workers_.end(),
                             [](const Worker& a, const Worker& b) { return a.due < b.due; });
        if (first->due == kNever) return -1;
        const auto left = std::max(first->due - Clock::now(), Clock::duration::zero());
        return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(left).count());
    }

    void start_worker(std::size_t i) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
            throw std::system_error(errno, std::generic_category(), "socketpair");
        }
        const std::string parent = std::to_string(::getpid());
        const pid_t worker = ::fork();
        if (worker < 0) throw std::system_error(errno, std::generic_category(), "fork");
        if (worker == 0) {
            // One that runs away would not see that its socket is closed.
            if (!end_with_supervisor(parent)) ::_exit(1);
            // The parent's ends would keep the other workers from seeing that the parent is gone.
            for (const pollfd& socket : sockets_) ::close(socket.fd);
            ::close(ends[0]);
            serve_and_exit(run_.plan, ends[1]);
        }
        ::close(ends[1]);
        workers_[i] = {worker, 0, kNever};
        sockets_[i] = {ends[0], POLLIN, 0};
    }

    // Forks beside the heartbeat's thread, which takes no lock but the allocator's: fork itself puts
    // that one in order for the child.
    void replace(std::size_t i) {
        Worker& worker = workers_[i];
        ::kill(worker.pid, SIGKILL);
        ::waitpid(worker.pid, nullptr, 0);
        ::close(std::exchange(sockets_[i].fd, -1));
        run_.results[worker.task] = give_up(run_.plan, worker.task);
        ++answered_;
        start_worker(i);
        send_next(i);
    }

    void send_next(std::size_t worker) {
        workers_[worker].due = kNever;
        if (sent_ == run_.plan.tasks) return;
        const std::uint64_t task = sent_++;
        send_all(sockets_[worker].fd, &task, sizeof task);
        if (run_.plan.workload == Workload::buffer) {
            packed_.resize(run_.plan.buffer_bytes);
            const auto buffer = std::as_writable_bytes(std::span(packed_));
            run_.results[task].readable = fill_buffer(run_.plan, task, buffer);
            send_all(sockets_[worker].fd, packed_.data(), packed_.size());
        }
        if (!limited()) return;
        workers_[worker].task = task;
        workers_[worker].due = Clock::now() + task_limit_of(run_.plan);
    }

    void take_answer(std::size_t worker) {
        const int socket = sockets_[worker].fd;
        Answer answer{};
        if (!receive_all(socket, &answer, sizeof answer)) worker_died(worker);
        packed_.resize(answer.payload_bytes);
        if (!packed_.empty() && !receive_all(socket, packed_.data(), packed_.size())) {
            worker_died(worker);
        }
        if (run_.plan.workload == Workload::buffer) {
            TaskResult& result = run_.results[answer.task];
            if (result.readable) result = result_of_buffer(std::as_bytes(std::span(packed_)));
            send_next(worker);
        } else {
            send_next(worker);
            unpack(packed_, run_.words);
            run_.results[answer.task] = answer.result;
        }
        ++answered_;
    }

    [[noreturn]] void worker_died(std::size_t worker) {
        int status = 0;
        ::waitpid(workers_[worker].pid, &status, 0);
        throw std::runtime_error(
            WIFSIGNALED(status)
                ? fmt::format("a worker process died: {}", signal_text(WTERMSIG(status)))
                : fmt::format("a worker process ended with status {}", WEXITSTATUS(status)));
    }

    Run& run_;
    std::vector<Worker> workers_;
    std::vector<pollfd> sockets_;  // of workers_, in their order
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
