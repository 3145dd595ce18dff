#include "overflow.hpp"

#include <cstdint>
#include <cstring>

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "completion.hpp"
#include "sanitizers.hpp"
#include "stack.hpp"
#include "worker.hpp"

namespace weft::rt {

namespace {

constexpr std::size_t kSignalStackBytes = 64 * 1024;

struct sigaction previous_segv;
struct sigaction previous_bus;

// Async-signal-safe text: no allocation, no stdio, one write() at the end.
class Line {
public:
    Line& operator<<(const char* text) noexcept {
        while (*text != 0 && size_ < sizeof text_) text_[size_++] = *text++;
        return *this;
    }
    Line& operator<<(std::uint64_t number) noexcept {
        char digits[21];
        int i = 20;
        digits[i] = 0;
        do {
            digits[--i] = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number != 0);
        return *this << digits + i;
    }
    void write() noexcept { (void)!::write(STDERR_FILENO, text_, size_); }

private:
    char text_[512];
    std::size_t size_ = 0;
};

void report_overflow(const Stack& stack) noexcept {
    Line line;
    line << "weft: fatal: stack overflow";
    Worker* worker = current_worker();
    if (worker != nullptr && worker->current != nullptr) {
        detail::TaskCore& task = *worker->current;
        // Names are changed under the task's lock, but by the task itself or before it starts, as a rule; and the
        // process is about to die.
        if (task.extra != nullptr && !task.extra->name.empty())
            line << " in task '" << task.extra->name.c_str() << "'";
        else
            line << " in task 'Task-" << number_of(task) << "'";
        line << " (stack of " << stack.size() / 1024 << " KiB, created at "
             << task.where.file_name() << ":" << task.where.line() << ")";
    } else {
        line << " in the scheduler";
    }
    line << "; give it a larger one with {.stack_size = ...}\n";
    line.write();
}

void on_fault(int signal, siginfo_t* info, void* context) {
    const auto* address = static_cast<const std::byte*>(info->si_addr);
    Stack* stack = StackPool::instance().find(address);
    // Only the guard: a wild pointer into some task's frames is not an overflow.
    if (stack != nullptr && address < stack->limit) {
        report_overflow(*stack);
        ::signal(signal, SIG_DFL);
        return;  // faults again, and dies of it, with the right core dump
    }
    const struct sigaction& previous = signal == SIGBUS ? previous_bus : previous_segv;
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
        ::signal(signal, SIG_DFL);
    } else {
        previous.sa_handler(signal);
    }
}

}  // namespace

SignalStack::SignalStack() noexcept {
    stack_t old{};
    if (sigaltstack(nullptr, &old) == 0 && (old.ss_flags & SS_DISABLE) == 0) return;
    void* memory = mmap(nullptr, kSignalStackBytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    stack_t fresh{};
    fresh.ss_sp = memory;
    fresh.ss_size = kSignalStackBytes;
    if (sigaltstack(&fresh, nullptr) == 0)
        memory_ = memory;
    else
        munmap(memory, kSignalStackBytes);
}

SignalStack::~SignalStack() {
    if (memory_ == nullptr) return;
    stack_t off{};
    off.ss_flags = SS_DISABLE;
    sigaltstack(&off, nullptr);
    munmap(memory_, kSignalStackBytes);
}

void install_overflow_handler() noexcept {
    static const bool installed = [] {
        if (WEFT_ASAN != 0) return false;  // AddressSanitizer reports overflows itself, and better
        StackPool::instance();             // not to be made in the handler
        struct sigaction action{};
        action.sa_sigaction = on_fault;
        action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
        sigemptyset(&action.sa_mask);
        sigaction(SIGSEGV, &action, &previous_segv);
        sigaction(SIGBUS, &action, &previous_bus);
        return true;
    }();
    (void)installed;
}

}  // namespace weft::rt
