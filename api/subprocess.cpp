#include <weft/detail/child_calls.hpp>
#include <weft/detail/descriptor.hpp>
#include <weft/detail/socket_calls.hpp>
#include <weft/offload.hpp>
#include <weft/subprocess.hpp>
#include <weft/sync.hpp>
#include <weft/task_group.hpp>
#include <weft/time.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <stdexcept>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "detail/stream_state.hpp"

namespace weft {

namespace calls = detail::calls;

namespace detail {

namespace {

// asyncio's, for a child whose status somebody else has taken.
constexpr int kUnknownReturncode = 255;

[[noreturn]] void fail(int error, const std::string& what) {
    throw std::system_error(-error, std::generic_category(), what);
}

void require_no_null(const std::string& text, const char* what) {
    if (text.find('\0') != std::string::npos)
        throw std::invalid_argument(std::string(what) + ": a null byte in a string");
}

}  // namespace

// --- one program --------------------------------------------------------------------------------------------------

class ProcessState {
public:
    ProcessState() noexcept = default;
    ~ProcessState();
    ProcessState(const ProcessState&) = delete;
    ProcessState& operator=(const ProcessState&) = delete;

    /// Owns the child, also if this throws.
    void adopt(pid_t pid, int pidfd, const char* what);
    int pid() const noexcept { return pid_; }
    std::optional<int> poll() noexcept;
    int wait();
    void send_signal(int signal);
    std::pair<std::string, std::string> communicate(std::string_view input);

    PipeStream streams[3];

private:
    void feed(std::string_view input);

    pid_t pid_ = 0;
    Descriptor pidfd_;  // closed when the child's end was taken
    Lock waiting_;      // a side of a descriptor has one waiter
    std::mutex mutex_;
    std::optional<int> returncode_;  // guarded by mutex_
};

void ProcessStateDeleter::operator()(ProcessState* state) const noexcept { delete state; }

void ProcessState::adopt(pid_t pid, int pidfd, const char* what) {
    try {
        pidfd_ = Descriptor(pidfd, what);
        pid_ = pid;
    } catch (...) {
        calls::kill_and_reap(pid);
        throw;
    }
}

// Under the lock: of two who ask the kernel, one would be told that there is no such child.
std::optional<int> ProcessState::poll() noexcept {
    std::lock_guard guard(mutex_);
    if (returncode_) return returncode_;
    int code = 0;
    int rc = pidfd_.once([&](int fd) { return calls::take_end(fd, &code); });
    if (rc == -EAGAIN) return std::nullopt;
    returncode_ = rc == 0 ? code : kUnknownReturncode;
    pidfd_.close();
    return returncode_;
}

int ProcessState::wait() {
    if (auto code = poll()) return *code;
    std::lock_guard guard(waiting_);
    // EBADF: another task has met the end, in poll().
    pidfd_.retry(Side::in, "Process.wait", [&](int) { return poll() ? 0 : -EAGAIN; });
    return poll().value();
}

void ProcessState::send_signal(int signal) {
    constexpr const char* kWhat = "weft::Process::send_signal";
    if (poll()) fail(-ESRCH, kWhat);
    int rc = pidfd_.once([&](int fd) { return calls::send_signal(fd, signal); });
    if (rc == -EBADF) rc = -ESRCH;
    if (rc < 0) fail(rc, kWhat);
}

ProcessState::~ProcessState() {
    if (pid_ == 0 || poll()) return;
    pidfd_.once([](int fd) { return calls::send_signal(fd, SIGKILL); });
    if (lowlevel::in_task()) {
        ShieldScope shield;
        try {
            wait();
            return;
        } catch (...) {
            // There is no event loop any more: as outside of a task.
        }
    }
    int code = 0;
    pidfd_.once([&](int fd) { return calls::await_end(fd, &code); });
}

void ProcessState::feed(std::string_view input) {
    try {
        streams[0].write(input);
    } catch (const std::system_error& e) {
        // asyncio: a program need not read all.
        if (e.code().value() != EPIPE && e.code().value() != ECONNRESET) throw;
    }
    streams[0].close();
}

std::pair<std::string, std::string> ProcessState::communicate(std::string_view input) {
    auto& [in, out, err] = streams;
    if (in.is_closing() && !input.empty())
        throw UsageError("weft::Process::communicate: there is input, but no pipe for it");
    const bool hears_out = !out.is_closing();
    const bool hears_err = !err.is_closing();
    // Cancelled in one of the waits, what has come of either stream stays in it.
    auto hear = [](PipeStream& stream) {
        StreamMaker::state_of(stream, "weft::Process::communicate").read_ahead_all();
    };
    try {
        task_group([&](TaskGroup& group) {
            if (!in.is_closing()) group.create_task([&] { feed(input); });
            if (hears_err) group.create_task([&] { hear(err); });
            if (hears_out) hear(out);
        });
    } catch (const ExceptionGroup& group) {
        std::rethrow_exception(group.exceptions().front());
    }
    wait();
    return {hears_out ? out.read() : "", hears_err ? err.read() : ""};
}

// --- starting -----------------------------------------------------------------------------------------------------

namespace {

/// Closed when the program has its own.
class ChildEnd {
public:
    ChildEnd() noexcept = default;
    explicit ChildEnd(int fd) noexcept : fd_(fd) {}
    ~ChildEnd() {
        if (fd_ >= 0) calls::close(fd_);
    }
    ChildEnd(ChildEnd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    ChildEnd& operator=(ChildEnd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    int get() const noexcept { return fd_; }

private:
    int fd_ = -1;
};

enum class ChildDoes : std::uint8_t { read, write };

/// The program's end blocks, as programs expect.
ChildEnd make_pipe(ChildDoes child, PipeStream& ours, std::size_t limit, const std::string& what) {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) fail(-errno, what);
    ChildEnd end(child == ChildDoes::read ? fds[0] : fds[1]);
    ours = PipeStream::from_fd(child == ChildDoes::read ? fds[1] : fds[0]);
    ours.set_limit(limit);
    return end;
}

std::string path_of(const Environment& env) {
    constexpr const char* kDefault = "/bin:/usr/bin";
    if (!env.entries()) {
        const char* path = std::getenv("PATH");
        return path != nullptr ? path : kDefault;
    }
    for (const std::string& entry : *env.entries())
        if (entry.starts_with("PATH=")) return entry.substr(5);
    return kDefault;
}

std::vector<std::string> files_to_try(const std::string& program, const Environment& env) {
    if (program.find('/') != std::string::npos || program.empty()) return {program};
    std::vector<std::string> files;
    std::string path = path_of(env) + ":";
    for (std::size_t begin = 0, end = 0; (end = path.find(':', begin)) != std::string::npos;
         begin = end + 1) {
        std::string directory = path.substr(begin, end - begin);
        files.push_back((directory.empty() ? "." : directory) + "/" + program);
    }
    return files;
}

/// As the kernel takes them. The strings must outlive it.
std::vector<char*> pointers_to(const std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
    pointers.push_back(nullptr);
    return pointers;
}

void check(const std::vector<std::string>& arguments, const SubprocessOptions& options,
           const char* what) {
    if (arguments.empty()) throw std::invalid_argument(std::string(what) + ": no program");
    for (const std::string& argument : arguments) require_no_null(argument, what);
    require_no_null(options.cwd, what);
    if (options.in == Stdio::out || options.out == Stdio::out)
        throw std::invalid_argument(std::string(what) + ": Stdio::out is for the errors");
    const Stdio all[] = {options.in, options.out, options.err};
    if (std::any_of(std::begin(all), std::end(all),
                    [](Stdio one) { return one.value() < Stdio::pipe.value(); }))
        fail(-EBADF, what);
    if (options.limit == 0) throw std::invalid_argument(std::string(what) + ": limit is 0");
}

// A missing directory would be told as a missing program.
void check_directory(const std::string& cwd, const char* what) {
    struct stat status{};
    int rc = ::stat(cwd.c_str(), &status) != 0 ? -errno : S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
    if (rc == 0 && ::access(cwd.c_str(), X_OK) != 0) rc = -errno;
    if (rc < 0) fail(rc, std::string(what) + ": directory " + cwd);
}

}  // namespace

Process start_process(const std::vector<std::string>& arguments, const SubprocessOptions& options,
                      const char* what) {
    lowlevel::require_task(what);
    check(arguments, options, what);
    const std::string named = std::string(what) + ": " + arguments.front();
    ProcessStatePtr state(new ProcessState);
    calls::SpawnRequest request;
    ChildEnd ends[3];
    const Stdio wanted[3] = {options.in, options.out, options.err};
    for (std::size_t i = 0; i < 3; ++i) {
        request.streams[i] = wanted[i].value();
        if (wanted[i] != Stdio::pipe) continue;
        ends[i] = make_pipe(i == 0 ? ChildDoes::read : ChildDoes::write, state->streams[i],
                            options.limit, named);
        request.streams[i] = ends[i].get();
    }
    const std::vector<std::string> files = files_to_try(arguments.front(), options.env);
    std::vector<char*> file_pointers = pointers_to(files);
    std::vector<char*> argument_pointers = pointers_to(arguments);
    std::vector<char*> variables;
    if (options.env.entries()) variables = pointers_to(*options.env.entries());
    request.files = file_pointers.data();
    request.arguments = argument_pointers.data();
    request.environment = variables.empty() ? nullptr : variables.data();
    request.directory = options.cwd.empty() ? nullptr : options.cwd.c_str();
    request.session = options.new_session ? calls::Session::fresh : calls::Session::same;

    pid_t pid = 0;
    int pidfd = -1;
    auto start = [&] {
        if (!options.cwd.empty()) check_directory(options.cwd, what);
        if (int rc = calls::spawn(request, &pid, &pidfd); rc < 0) fail(rc, named);
    };
    try {
        to_thread(start);
    } catch (...) {
        // A cancel comes out here though it was started.
        if (pidfd >= 0) state->adopt(pid, pidfd, what);
        throw;
    }
    state->adopt(pid, pidfd, what);
    return Process(std::move(state));
}

}  // namespace detail

void Environment::set(const std::string& name, const std::string& value) {
    constexpr const char* kWhat = "weft::Environment";
    detail::require_no_null(name, kWhat);
    detail::require_no_null(value, kWhat);
    if (name.empty() || name.find('=') != std::string::npos)
        throw std::invalid_argument(std::string(kWhat) + ": no variable can be called \"" + name +
                                    "\"");
    if (!entries_) {
        std::vector<std::string> own;
        for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry)
            own.emplace_back(*entry);
        entries_ = std::move(own);
    }
    std::erase_if(*entries_, [&](const std::string& entry) {
        return entry.starts_with(name) && entry[name.size()] == '=';
    });
    entries_->push_back(name + "=" + value);
}

Process create_subprocess_exec(const std::vector<std::string>& arguments,
                               const SubprocessOptions& options) {
    return detail::start_process(arguments, options, "weft::create_subprocess_exec");
}

Process create_subprocess_shell(const std::string& command, const SubprocessOptions& options) {
    return detail::start_process({"/bin/sh", "-c", command}, options,
                                 "weft::create_subprocess_shell");
}

detail::ProcessState& Process::state() const {
    if (state_ == nullptr) throw UsageError("weft::Process: it has no program");
    return *state_;
}

int Process::pid() const { return state().pid(); }
std::optional<int> Process::returncode() const { return state().poll(); }

int Process::wait() {
    lowlevel::require_task("weft::Process::wait");
    return state().wait();
}

std::pair<std::string, std::string> Process::communicate(std::string_view input) {
    lowlevel::require_task("weft::Process::communicate");
    return state().communicate(input);
}

void Process::send_signal(int signal) { state().send_signal(signal); }
void Process::terminate() { send_signal(SIGTERM); }
void Process::kill() { send_signal(SIGKILL); }

PipeStream& Process::in() { return state().streams[0]; }
PipeStream& Process::out() { return state().streams[1]; }
PipeStream& Process::err() { return state().streams[2]; }

}  // namespace weft
