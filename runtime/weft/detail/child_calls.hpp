// The system calls of programs that are started and waited for. Each returns -errno and repeats EINTR. Not for users.
#pragma once

#include <cstdint>

#include <sys/types.h>

namespace weft::detail::calls {

/// What a standard stream of the new program is, where it is no descriptor.
inline constexpr int kInherited = -1;
inline constexpr int kNullDevice = -2;
inline constexpr int kSameAsOut = -3;  // of the errors

enum class Session : std::uint8_t { same, fresh };

/// All that is pointed at must outlive the call.
struct SpawnRequest {
    const char* const* files =
        nullptr;  // the program: the first of these that there is; ends with null
    char* const* arguments = nullptr;
    char* const* environment = nullptr;  // null: this program's
    const char* directory = nullptr;     // null: this program's
    int streams[3] = {kInherited, kInherited, kInherited};
    Session session = Session::same;
};

/// Starts a program that has no descriptor of ours but the three, an empty signal mask, and default actions (but where
/// SIGHUP, SIGINT or SIGQUIT is ignored, as by nohup). 0: it runs, and *pidfd, close-on-exec, refers to it. Else there is no
/// child. Blocks until the program is loaded.
int spawn(const SpawnRequest& request, pid_t* pid, int* pidfd) noexcept;

/// Takes a child's end: 0, and *returncode is its exit status, or minus the signal that killed it. -EAGAIN: it runs; -ECHILD:
/// somebody else has taken it.
int take_end(int pidfd, int* returncode) noexcept;
/// The same, and blocks until it ends.
int await_end(int pidfd, int* returncode) noexcept;
int send_signal(int pidfd, int signal) noexcept;
void kill_and_reap(pid_t pid) noexcept;

}  // namespace weft::detail::calls
