// A child process: this program once more in another role, in a process group of its own that ends with the object.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace weft_compare {

class ChildProcess {
public:
    static constexpr int kGivenFd = 3;

    // Its stdout is a pipe, its stderr a file; given_fd is there under the number kGivenFd.
    explicit ChildProcess(std::vector<std::string> arguments,
                          std::optional<int> given_fd = std::nullopt);
    // Kills the group and waits for the child.
    ~ChildProcess();
    ChildProcess(const ChildProcess&) = delete;
    ChildProcess& operator=(const ChildProcess&) = delete;

    pid_t pid() const { return pid_; }
    int out() const { return stdout_; }
    std::string said() const;  // what it wrote to stderr

    // The child's status, waiting for its end.
    int wait();
    bool ended_within(std::chrono::milliseconds limit);

private:
    int spawn(std::vector<std::string>& arguments, std::optional<int> given_fd, int stdout_fd);

    int stderr_;
    int stdout_ = -1;
    pid_t pid_ = -1;
    int status_ = 0;
    bool waited_ = false;
};

// For the child, at its start: a killed supervisor cannot clean up. False where it is gone already, who is the process
// of that id.
bool end_with_supervisor(std::string_view supervisor);

// A file in memory, closed by exec.
int make_memory_file(const char* name);

}  // namespace weft_compare
