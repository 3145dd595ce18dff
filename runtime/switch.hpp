// The switch itself, inline: for worker.cpp, park.cpp and context.cpp only.
//
// jump_fcontext returns by a jump, not by a ret, which leaves the processor's return predictor one call off: each
// function that returns between here and the user's code is then predicted wrongly (about 5 ns each, measured: a yield
// went from 56 to XX ns by inlining the way). So there must be as few as possible.
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
inline ctx::transfer_t jump_sanitized(Stack&, Stack& to, Handoff& handoff) noexcept {
    return ctx::jump_fcontext(to.context, &handoff);
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
