// The switch itself, inline: for worker.cpp, park.cpp and context.cpp only.
//
// jump_fcontext is entered by a call and left by a jump, which leaves the processor's return predictor one entry off:
// each function that returns between here and the user's code is then predicted wrongly, 5 ns each. Hence two things.
// The way from the user's code to here is inline, so that few functions return. And on x86-64 it is entered by a jump
// too, with the return address pushed by hand, so that the predictor hears nothing of it at all.
#pragma once

#include <boost/context/detail/fcontext.hpp>

#include "context.hpp"
#include "sanitizers.hpp"
#include "worker.hpp"

namespace weft::rt {

namespace ctx = boost::context::detail;

/// What the side that leaves tells the side that arrives; lives on the stack that is left.
struct Handoff {
    Worker* worker;
    Stack* from;
    AfterSwitch after;
    void* argument;
};

#if WEFT_ASAN || WEFT_TSAN
ctx::transfer_t jump_sanitized(Stack& from, Stack& to, Handoff& handoff) noexcept;
#else
// Where returns are checked against a shadow stack, a call is what it must see.
#if defined(__x86_64__) && !(defined(__CET__) && (__CET__ & 2))
inline ctx::transfer_t jump(ctx::fcontext_t to, void* data) noexcept {
    ctx::transfer_t transfer;
    // The red zone of a function that the compiler takes for a leaf is stepped over.
    asm volatile(
        "leaq -128(%%rsp), %%rsp\n\t"
        "leaq 1f(%%rip), %%rax\n\t"
        "pushq %%rax\n\t"
        "jmp jump_fcontext@PLT\n"
        "1:\n\t"
        "leaq 128(%%rsp), %%rsp"
        : "=a"(transfer.fctx), "=d"(transfer.data), "+D"(to), "+S"(data)
        :
        : "rcx", "r8", "r9", "r10", "r11", "memory", "cc", "st", "st(1)", "st(2)", "st(3)", "st(4)",
          "st(5)", "st(6)", "st(7)", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
          "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#if defined(__AVX512F__)
          ,
          "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25",
          "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k0", "k1", "k2", "k3", "k4", "k5",
          "k6", "k7"
#endif
    );
    return transfer;
}
#else
inline ctx::transfer_t jump(ctx::fcontext_t to, void* data) noexcept {
    return ctx::jump_fcontext(to, data);
}
#endif

inline ctx::transfer_t jump_sanitized(Stack&, Stack& to, Handoff& handoff) noexcept {
    return jump(to.context, &handoff);
}
#endif

inline Worker& arrive(ctx::transfer_t transfer) noexcept {
    Handoff& handoff = *static_cast<Handoff*>(transfer.data);
    Worker& worker = *handoff.worker;
    Stack& left = *handoff.from;
    left.context = transfer.fctx;
    if (handoff.after != nullptr) handoff.after(worker, left, handoff.argument);
    return worker;
}

inline Worker& leave(Worker& leaving, Handoff& handoff, Stack& from, Stack& to) noexcept {
    ExceptionState& mine = *leaving.exceptions;
    from.exceptions = mine;
    mine = to.exceptions;
    if (!to.touched) to.touched = true;
    return arrive(jump_sanitized(from, to, handoff));
}

/// Leaves `from`, which this code runs on, for `to`. Returns when somebody switches back to `from`, on the worker
/// that did; what that one asked to be done after its switch has then been done.
inline Worker& switch_stack(Worker& worker, Stack& from, Stack& to, AfterSwitch after,
                            void* argument) noexcept {
    Handoff handoff{&worker, &from, after, argument};
    worker.stack = &to;
    return leave(worker, handoff, from, to);
}

}  // namespace weft::rt
