// An overflowing stack ends the process with one line that names the task.
#pragma once

#include <cstddef>

namespace weft::rt {

/// A fault on a task's own stack can only be reported from another one. For this thread, while the object lives;
/// a signal stack that the thread already has is left alone.
class SignalStack {
public:
    SignalStack() noexcept;
    ~SignalStack();
    SignalStack(const SignalStack&) = delete;
    SignalStack& operator=(const SignalStack&) = delete;

private:
    void* memory_ = nullptr;
};

/// Once for the process. Faults that are no overflow go on to whoever handled them before.
void install_overflow_handler() noexcept;

}  // namespace weft::rt
