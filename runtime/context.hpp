// A stack switch: the one place that knows Boost.Context.
//
// We jump with the raw jump_fcontext and carry the C++ exception state (what catch blocks are open, how many
// exceptions are in flight) ourselves. boost::context::fiber keeps it in some versions (1.88) and not in others
// (1.81), and doing it twice breaks it too. The state is swapped through a pointer that each worker thread reads
// once: __cxa_get_globals is declared const, so a function that called it and also switched would reuse the pointer
// of the thread it left (measured: gcc and clang at -O2, always).
//
// Sanitizers are told of each switch here as well.
#pragma once

#include <cstddef>

namespace weft::rt {

class Worker;
struct StackSlab;

/// The first 16 bytes of __cxa_eh_globals (Itanium C++ ABI): per thread in the ABI, per task here.
struct ExceptionState {
    void* caught = nullptr;
    unsigned int uncaught = 0;
};
/// This thread's. Never call it in a function that also switches.
ExceptionState* exception_state_of_this_thread() noexcept;

using StackEntry = void (*)(Worker& worker);

/// A stack and, while nobody runs on it, what is suspended there. What a switch touches comes first.
struct alignas(64) Stack {
    void* context = nullptr;  // an fcontext_t; null: fresh
    ExceptionState exceptions;
    std::byte* limit = nullptr;  // the lowest usable byte, above the guard
    std::byte* top = nullptr;
    Stack* next = nullptr;    // link in a list of free or spare stacks
    bool custom = false;      // its task asked for the size: freed when that task ends
    bool has_canary = false;  // no guard page could be had
    bool touched = false;     // has been run on since its pages were last given back

    StackEntry entry = nullptr;  // where a fresh one begins
    StackSlab* slab = nullptr;   // null: a thread's own stack
    std::size_t guard_bytes = 0;
    void* fake_stack = nullptr;  // ASan
    void* tsan_fiber = nullptr;

    std::size_t size() const noexcept { return static_cast<std::size_t>(top - limit); }
};

/// Runs on the new stack, when the old one is at rest; the last thing it does may be to publish the old one.
using AfterSwitch = void (*)(Worker& worker, Stack& left, void* argument) noexcept;

// Leaving one stack for another, switch_stack(), is in switch.hpp, for those few who do it.

/// The same in a simulation: the other virtual worker of this thread goes on, on the stack it was left on.
Worker& switch_worker(Worker& from, Worker& to) noexcept;

/// Makes `stack` start in entry(worker) when it is switched to for the first time. entry never returns.
void prepare_stack(Stack& stack, StackEntry entry) noexcept;

/// For a thread's own stack, so that fibers can switch to it.
void adopt_thread_stack(Stack& stack) noexcept;
/// The thread is back on it for good.
void leave_thread_stack(Stack& stack) noexcept;
/// Before a stack's memory is freed or given to another use while something is still suspended on it.
void abandon_stack(Stack& stack) noexcept;

}  // namespace weft::rt
