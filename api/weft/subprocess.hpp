// Other programs: asyncio's create_subprocess_exec and create_subprocess_shell. (For a function of this program in another
// process: to_process, in <weft/process.hpp>.)
#pragma once

#include <weft/pipe.hpp>

#include <cstddef>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weft {

/// What a standard stream of a program is.
class Stdio {
public:
    static const Stdio inherit;  ///< this program's own
    static const Stdio pipe;     ///< a pipe; its other end is Process::in(), out() or err()
    static const Stdio devnull;  ///< nothing to be read, and what is written is dropped
    static const Stdio out;      ///< of the errors: where the output goes (asyncio's STDOUT)
    /// This descriptor, which stays the caller's, and must stay open until the program has started. A stream's does not
    /// block, and most programs cannot read or write such a one: give them one of your own.
    static constexpr Stdio from_fd(int fd) noexcept { return Stdio(fd < 0 ? kNoDescriptor : fd); }

    /// The descriptor, or less than 0.
    constexpr int value() const noexcept { return value_; }
    constexpr bool operator==(const Stdio&) const noexcept = default;

private:
    static constexpr int kNoDescriptor =
        -5;  // so that a failed open(2) is not taken for something else
    explicit constexpr Stdio(int value) noexcept : value_(value) {}
    int value_;
};
inline constexpr Stdio Stdio::inherit{-1};
inline constexpr Stdio Stdio::devnull{-2};
inline constexpr Stdio Stdio::out{-3};
inline constexpr Stdio Stdio::pipe{-4};

/// A program's environment variables.
class Environment {
public:
    /// Those of this program.
    Environment() noexcept = default;
    /// These alone: {{"PATH", "/bin"}, {"LANG", "C"}}.
    Environment(std::initializer_list<std::pair<std::string, std::string>> variables)
        : entries_(std::in_place) {
        for (const auto& [name, value] : variables) set(name, value);
    }
    /// None at all.
    static Environment empty() {
        Environment none;
        none.entries_.emplace();
        return none;
    }
    /// One more, in place of one of that name; of Environment(), beside those that this program has now.
    /// std::invalid_argument: no name can be that.
    void set(const std::string& name, const std::string& value);

    /// "NAME=value"; none: this program's.
    const std::optional<std::vector<std::string>>& entries() const noexcept { return entries_; }

private:
    std::optional<std::vector<std::string>> entries_;
};

struct SubprocessOptions {
    Stdio in = Stdio::inherit;
    Stdio out = Stdio::inherit;
    Stdio err = Stdio::inherit;
    std::string cwd{};  ///< where it starts; "": where this program is
    Environment env{};  ///< also where its PATH is looked up
    bool new_session =
        false;  ///< setsid(2): no terminal, and signals for this program's group do not reach it
    std::size_t limit = Stream::kDefaultLimit;  ///< of the streams
};

class Process;

namespace detail {
class ProcessState;
struct ProcessStateDeleter {
    void operator()(ProcessState* state) const noexcept;
};
using ProcessStatePtr = std::unique_ptr<ProcessState, ProcessStateDeleter>;

Process start_process(const std::vector<std::string>& arguments, const SubprocessOptions& options,
                      const char* what);
}  // namespace detail

/// A program that was started. Movable. Any task of the runtime that started it; UsageError for one that was moved from.
///
/// Its destructor kills it (SIGKILL) if it still runs, and waits until it is gone, not ended by a cancel: no zombie is left.
/// Outside of a task it blocks meanwhile.
class Process {
public:
    /// No program.
    Process() noexcept = default;

    int pid() const;
    /// Its exit status, or minus the number of the signal that killed it; none while it runs. Never waits. 255 where somebody
    /// else has taken the status, as waitpid(-1) or an ignored SIGCHLD does.
    std::optional<int> returncode() const;
    /// Waits until the program has ended; gives the returncode. Any number of tasks. A cancel ends the wait and leaves the
    /// program alone; where the Process is then unwound, that kills it.
    ///
    /// A program that fills a pipe that nobody reads never ends: see communicate(). Cost: none of a thread, a wait in the
    /// event loop and two system calls.
    int wait();
    /// Writes `input` to the program and closes its input, reads all of its output and errors meanwhile, and waits for its
    /// end. Gives output and errors, "" for what is no pipe. That the program does not read all of its input is no error.
    ///
    /// Cancelled, the program is left alone, and what was read is there for the streams' next read, and the next
    /// communicate(). Of the input a beginning may have been sent then; until it is all sent, its pipe is open. UsageError:
    /// there is input, but `in` is no pipe, or is closed; another task reads; std::system_error of the streams.
    std::pair<std::string, std::string> communicate(std::string_view input = {});

    /// Never hits another process, since it goes by a pidfd and not by the number. std::system_error: ESRCH once the
    /// program has ended (asyncio's ProcessLookupError), EPERM, EINVAL. Never waits.
    void send_signal(int signal);
    /// SIGTERM.
    void terminate();
    /// SIGKILL.
    void kill();

    /// What was asked for as Stdio::pipe; else a stream that is closed. One task may read in out() while another writes.
    PipeStream& in();
    PipeStream& out();
    PipeStream& err();

private:
    friend Process detail::start_process(const std::vector<std::string>&, const SubprocessOptions&,
                                         const char*);
    explicit Process(detail::ProcessStatePtr state) noexcept : state_(std::move(state)) {}
    detail::ProcessState& state() const;

    detail::ProcessStatePtr state_;
};

/// Starts a program, with its name as the first argument; a name without a "/" is looked up in PATH. It gets the three
/// streams and no other descriptor of this program, an empty signal mask, and signals' default actions; but SIGHUP, SIGINT and
/// SIGQUIT stay ignored where this program ignores them, as nohup's do.
///
/// Waits until it is loaded, on a thread of the runtime's pool; cancelled there, what was started is killed. Two pidfds and
/// the pipes are what it needs of descriptors; one stays for as long as the program runs.
/// std::system_error, naming the program: ENOENT, EACCES, EMFILE, ...; naming the directory where that is not there: then
/// nothing runs. std::invalid_argument: no arguments, a "\0" in one, Stdio::out for another stream than the errors.
/// UsageError outside of a task.
Process create_subprocess_exec(const std::vector<std::string>& arguments,
                               const SubprocessOptions& options = {});
/// /bin/sh -c command. What a user has typed does not belong into a command.
Process create_subprocess_shell(const std::string& command, const SubprocessOptions& options = {});

}  // namespace weft
