#include "context.hpp"

#include <cxxabi.h>
#include <pthread.h>

#include "signals_held_back.hpp"
#include "switch.hpp"

namespace __cxxabiv1 {
struct __cxa_eh_globals;
extern "C" __cxa_eh_globals* __cxa_get_globals() noexcept;
}  // namespace __cxxabiv1

namespace weft::rt {

namespace ctx = boost::context::detail;

[[gnu::noinline]] ExceptionState* exception_state_of_this_thread() noexcept {
    asm volatile("" ::: "memory");
    return reinterpret_cast<ExceptionState*>(__cxxabiv1::__cxa_get_globals());
}

#if WEFT_ASAN || WEFT_TSAN
namespace {

// Not instrumented by TSan: its function-exit hook would pop the shadow stack of the fiber that was switched to.
__attribute__((noinline, no_sanitize("thread"))) ctx::transfer_t jump(Stack& to,
                                                                      Handoff& handoff) noexcept {
#if WEFT_TSAN
    {
        // The tool keeps a signal back with the fiber that it met, not with the thread: one that came since the fiber last called
        // what the tool knows would wait until the fiber goes on, which may be what it is to bring about.
        sys::SignalsHeldBack held_back;
        __tsan_switch_to_fiber(to.tsan_fiber, 0);
    }
#endif
    return ctx::jump_fcontext(to.context, &handoff);
}

}  // namespace

ctx::transfer_t jump_sanitized([[maybe_unused]] Stack& from, Stack& to, Handoff& handoff) noexcept {
#if WEFT_ASAN
    __sanitizer_start_switch_fiber(&from.fake_stack, to.limit, to.size());
#endif
    ctx::transfer_t back = jump(to, handoff);
#if WEFT_ASAN
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
    return back;
}
#endif

namespace {

void enter_stack(ctx::transfer_t transfer) {
    Stack& here = *static_cast<Handoff*>(transfer.data)->worker->stack;
#if WEFT_ASAN
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    here.entry(arrive(transfer));
}

}  // namespace

Worker& switch_worker(Worker& from, Worker& to) noexcept {
    Handoff handoff{&to, from.stack, nullptr, nullptr};
    return leave(from, handoff, *from.stack, *to.stack);
}

void prepare_stack(Stack& stack, StackEntry entry) noexcept {
    stack.context = ctx::make_fcontext(stack.top, stack.size(), enter_stack);
    stack.exceptions = {};
    stack.entry = entry;
    stack.fake_stack = nullptr;
#if WEFT_TSAN
    if (stack.tsan_fiber == nullptr) stack.tsan_fiber = __tsan_create_fiber(0);
#endif
}

void adopt_thread_stack(Stack& stack) noexcept {
    pthread_attr_t attributes;
    void* base = nullptr;
    std::size_t size = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
        pthread_attr_getstack(&attributes, &base, &size);
        pthread_attr_destroy(&attributes);
    }
    stack.limit = static_cast<std::byte*>(base);
    stack.top = stack.limit + size;
#if WEFT_ASAN
    // While the worker runs on other stacks, what this one's frames hold is not lost (a task may call std::exit).
    __lsan_register_root_region(stack.limit, stack.size());
#endif
#if WEFT_TSAN
    stack.tsan_fiber = __tsan_get_current_fiber();
#endif
}

void leave_thread_stack([[maybe_unused]] Stack& stack) noexcept {
#if WEFT_ASAN
    __lsan_unregister_root_region(stack.limit, stack.size());
#endif
}

#if WEFT_ASAN
namespace {

/// Gives back what AddressSanitizer keeps of the frames of a stack that nobody will be on again (megabytes, in memory of its
/// own). It does so only for a stack that is left for good, so it is told that this thread went there and back.
__attribute__((noinline, no_sanitize("address"))) void destroy_fake_stack(Stack& stack) noexcept {
    void* fake_stack_here = nullptr;
    const void* bottom_here = nullptr;
    std::size_t size_here = 0;
    __sanitizer_start_switch_fiber(&fake_stack_here, stack.limit, stack.size());
    __sanitizer_finish_switch_fiber(stack.fake_stack, &bottom_here, &size_here);
    __sanitizer_start_switch_fiber(nullptr, bottom_here, size_here);
    __sanitizer_finish_switch_fiber(fake_stack_here, nullptr, nullptr);
    stack.fake_stack = nullptr;
}

}  // namespace
#endif

void abandon_stack(Stack& stack) noexcept {
    stack.context = nullptr;
#if WEFT_ASAN
    if (stack.fake_stack != nullptr) destroy_fake_stack(stack);
    // Frames of a loop that was suspended there for good have left their red zones behind.
    __asan_unpoison_memory_region(stack.limit, stack.size());
#endif
#if WEFT_TSAN
    if (stack.tsan_fiber != nullptr) __tsan_destroy_fiber(stack.tsan_fiber);
    stack.tsan_fiber = nullptr;
#endif
}

}  // namespace weft::rt
