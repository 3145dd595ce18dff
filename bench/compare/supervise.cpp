// Starting, watching and ending a model's process; see supervise.hpp.
#include "supervise.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.hpp"
#include "format.hpp"
#include "process_tree.hpp"

namespace weft_compare {
namespace {

constexpr std::chrono::milliseconds kTick{100};
constexpr int kPlanFd = 3;  // in the child

std::atomic<int> g_signal{0};

[[noreturn]] void throw_errno(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

int make_memory_file(const char* name) {
    const int fd = ::memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) throw_errno("memfd_create");
    return fd;
}

std::string read_all(int fd) {
    std::string text;
    std::array<char, 4096> part{};
    for (off_t at = 0;; at = static_cast<off_t>(text.size())) {
        const ssize_t got = ::pread(fd, part.data(), part.size(), at);
        if (got <= 0) return text;
        text.append(part.data(), static_cast<std::size_t>(got));
    }
}

// A child process with its stdout on a pipe and its stderr in a file. Ends with the object, and its
// group with it.
class Child {
public:
    Child(const Model& model, int plan_fd) : stderr_(make_memory_file("stderr")) {
        std::array<int, 2> ends{};
        if (::pipe2(ends.data(), O_CLOEXEC) != 0) throw_errno("pipe");
        stdout_ = ends[0];
        const int error = spawn(model, plan_fd, ends[1]);
        ::close(ends[1]);
        if (error != 0) {
            errno = error;
            throw_errno("posix_spawn");
        }
    }

    ~Child() {
        kill_all();
        wait();
        ::close(stdout_);
        ::close(stderr_);
    }

    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    pid_t pid() const { return pid_; }
    int out() const { return stdout_; }
    std::string said() const { return read_all(stderr_); }
    void kill_all() { ::kill(-pid_, SIGKILL); }

    // The child's status, waiting for its end.
    int wait() {
        while (!waited_ && ::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
        }
        waited_ = true;
        return status_;
    }

    bool ended_within(std::chrono::milliseconds limit) {
        for (auto slept = limit - limit; !waited_ && slept < limit; slept += kStep) {
            if (::waitpid(pid_, &status_, WNOHANG) == pid_) waited_ = true;
            if (!waited_) std::this_thread::sleep_for(kStep);
        }
        return waited_;
    }

private:
    static constexpr std::chrono::milliseconds kStep{2};

    int spawn(const Model& model, int plan_fd, int stdout_fd) {
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attributes;
        ::posix_spawn_file_actions_init(&files);
        ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
        ::posix_spawn_file_actions_adddup2(&files, stdout_fd, STDOUT_FILENO);
        ::posix_spawn_file_actions_adddup2(&files, stderr_, STDERR_FILENO);
        ::posix_spawn_file_actions_adddup2(&files, plan_fd, kPlanFd);
        ::posix_spawnattr_init(&attributes);
        ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
        ::posix_spawnattr_setpgroup(&attributes, 0);
        std::string program = "/proc/self/exe";
        std::string option(kRunModelOption);
        std::string key(model.key);
        std::string fd = std::to_string(kPlanFd);
        std::string name = "weft-compare";
        std::string supervisor = std::to_string(::getpid());
        std::array<char*, 6> arguments{name.data(), option.data(),     key.data(),
                                       fd.data(),   supervisor.data(), nullptr};
        const int error =
            ::posix_spawn(&pid_, program.c_str(), &files, &attributes, arguments.data(), environ);
        ::posix_spawn_file_actions_destroy(&files);
        ::posix_spawnattr_destroy(&attributes);
        return error;
    }

    int stderr_;
    int stdout_ = -1;
    pid_t pid_ = -1;
    int status_ = 0;
    bool waited_ = false;
};

// The child's one line, or what there was of it when it ended or its time was over.
std::string read_line(Child& child, Clock::time_point deadline, ProcessTree* tree,
                      const std::function<void()>& tick) {
    std::string line;
    Clock::time_point next_tick = Clock::now();
    while (Clock::now() < deadline) {
        if (Clock::now() >= next_tick) {
            tick();
            next_tick = Clock::now() + kTick;
        }
        if (tree != nullptr) tree->sample();
        pollfd out{child.out(), POLLIN, 0};
        const auto pause = tree != nullptr ? ProcessTree::kInterval : kTick;
        const int ready = ::poll(&out, 1, static_cast<int>(pause.count()));
        if (const int signal = g_signal) throw Interrupted{signal};
        if (ready <= 0) continue;
        std::array<char, 4096> part{};
        const ssize_t got = ::read(child.out(), part.data(), part.size());
        if (got <= 0) break;
        line.append(part.data(), static_cast<std::size_t>(got));
        if (line.back() == '\n') break;
    }
    return line;
}

std::string last_line(std::string text) {
    text.erase(text.find_last_not_of(" \n") + 1);
    const std::size_t newline = text.rfind('\n');
    return newline == text.npos ? text : text.substr(newline + 1);
}

// How a child that gave no answer ended.
std::string describe_end(int status, const std::string& said) {
    std::string why = WIFSIGNALED(status)
                          ? fmt::format("crashed: {}", signal_text(WTERMSIG(status)))
                          : fmt::format("ended with status {}", WEXITSTATUS(status));
    if (const std::string line = last_line(said); !line.empty()) why += ": " + line;
    return why;
}

Sample sample_of(const nlohmann::json& report) {
    Sample sample;
    sample.wall_s = report.at("wall_s");
    sample.cpu_s = report.at("cpu_s");
    sample.peak_bytes = report.at("peak_bytes");
    sample.checksum = report.at("checksum");
    sample.words = report.at("words");
    sample.distinct_words = report.at("distinct_words");
    sample.unreadable = report.at("unreadable");
    sample.unreadable_names = report.at("unreadable_names").get<std::vector<std::string>>();
    if (const auto& lag = report.at("lag"); !lag.is_null()) {
        sample.lag = Lag{lag.at("p99_ms"), lag.at("max_ms"), lag.at("beats")};
    }
    return sample;
}

Attempt attempt_of(const std::string& line) {
    Attempt attempt;
    const auto report = nlohmann::json::parse(line);
    if (report.contains("cannot")) {
        attempt.ending = Ending::cannot;
        attempt.why = report["cannot"];
    } else if (report.contains("failed")) {
        attempt.why = report["failed"];
    } else {
        attempt.ending = Ending::done;
        attempt.sample = sample_of(report);
    }
    return attempt;
}

}  // namespace

void catch_interrupts() {
    struct sigaction action{};
    action.sa_handler = [](int signal) { g_signal = signal; };
    for (const int signal : {SIGINT, SIGTERM, SIGHUP}) ::sigaction(signal, &action, nullptr);
}

PlanFile::PlanFile(const Plan& plan) : fd_(make_memory_file("plan")) {
    const std::string text = encode(plan);
    for (std::size_t written = 0; written < text.size();) {
        const ssize_t more = ::write(fd_, text.data() + written, text.size() - written);
        if (more < 0) throw_errno("writing the plan");
        written += static_cast<std::size_t>(more);
    }
}

PlanFile::~PlanFile() { ::close(fd_); }

Attempt run_in_child(const Model& model, const PlanFile& plan, std::chrono::duration<double> limit,
                     const std::function<void()>& tick) {
    constexpr std::chrono::seconds kPatienceAfterAnswer{5};
    Child child(model, plan.fd());
    ProcessTree tree(child.pid());
    const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(limit);
    const std::string line = read_line(child, deadline, model.has_children ? &tree : nullptr, tick);
    Attempt attempt;
    if (!line.empty() && line.back() == '\n') {
        attempt = attempt_of(line);
        attempt.sample.peak_bytes = std::max(attempt.sample.peak_bytes, tree.peak_bytes());
        if (!child.ended_within(kPatienceAfterAnswer) && attempt.ending == Ending::done) {
            attempt.ending = Ending::failed;
            attempt.why = "gave its result, but does not end";
        } else if (child.wait() != 0 && attempt.ending == Ending::done) {
            attempt.ending = Ending::failed;
            attempt.why = "gave its result, then " + describe_end(child.wait(), child.said());
        }
    } else if (Clock::now() >= deadline) {
        attempt.ending = Ending::cannot;
        attempt.why = fmt::format("not done after {}, stopped", exact_duration_text(limit.count()));
    } else {
        attempt.why = describe_end(child.wait(), child.said());
    }
    attempt.said = child.said();
    return attempt;
}

}  // namespace weft_compare
