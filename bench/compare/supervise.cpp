// Starting, watching and ending a model's process; see supervise.hpp.
#include "supervise.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "child.hpp"
#include "child_process.hpp"
#include "format.hpp"
#include "process_tree.hpp"

namespace weft_compare {
namespace {

constexpr std::chrono::milliseconds kTick{100};

std::atomic<int> g_signal{0};

[[noreturn]] void throw_errno(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// The child's one line, or what there was of it when it ended or its time was over.
std::string read_line(ChildProcess& child, Clock::time_point deadline, ProcessTree* tree,
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
    ChildProcess child({std::string(kRunModelOption), std::string(model.key),
                        std::to_string(ChildProcess::kGivenFd), std::to_string(::getpid())},
                       plan.fd());
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
