// What the templates of <weft/process.hpp> make of a call: the message, the code that is found in
// the worker, and the refusals that a compiler can give.
#pragma once

#include <weft/archive.hpp>
#include <weft/detail/offload_call.hpp>
#include <weft/detail/process.hpp>
#include <weft/offload.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

namespace weft {

/// What idempotent() gives.
template <class F>
struct Idempotent {};

namespace detail {

/// Of a ProcessContextVar, what does not depend on its type. They find each other by name: a process
/// has those that its static constructors made.
class SentContextVar {
public:
    using Write = void (*)(const void* value, OutputArchive& out);
    using Read = std::shared_ptr<const void> (*)(InputArchive& in);

    SentContextVar(const char* name, std::uint64_t key, Write write, Read read);
    ~SentContextVar();
    SentContextVar(const SentContextVar&) = delete;
    SentContextVar& operator=(const SentContextVar&) = delete;

    /// Those that are set in the current context.
    static void write_all(OutputArchive& out);
    /// Sets them in the current context. UsageError for one that this process has not.
    static void read_all(InputArchive& in);

private:
    std::string name_;
    std::uint64_t key_;
    Write write_;
    Read read_;
};

/// What a worker is told to call: reads arguments, runs the function, writes the result.
using ProcessThunk = void (*)(InputArchive& in, OutputArchive& out);

/// Makes room in front for what the engine says about the call, and writes what goes along with it.
void begin_process_call(OutputArchive& message);
/// Waits for the result; throws everything that is not one.
ProcessReply finish_process_call(rt::process::Pool& pool, ProcessThunk thunk,
                                 std::string_view function, Repeatable repeatable,
                                 OutputArchive& message);
rt::process::Pool& default_process_pool();

/// The text of a template argument, out of what the compiler calls a function that has it.
constexpr std::string_view argument_in(std::string_view pretty_function) {
    std::size_t begin = pretty_function.find("What = ");
    std::size_t end = pretty_function.rfind(']');
    if (begin == std::string_view::npos || end == std::string_view::npos) return pretty_function;
    begin += 7;
    if (pretty_function[begin] == '&') ++begin;
    return pretty_function.substr(begin, end - begin);
}

/// A function named at compile time, as a function object.
template <auto What>
struct NamedFunction {
    template <class... Args>
        requires std::is_invocable_v<decltype(What), Args...>
    decltype(auto) operator()(Args&&... args) const {
        return std::apply(What, std::forward_as_tuple(std::forward<Args>(args)...));
    }
    static constexpr auto name() { return argument_in(__PRETTY_FUNCTION__); }
};

template <class What>
struct FunctionObject {
    static constexpr auto name() { return argument_in(__PRETTY_FUNCTION__); }
};
template <auto Function>
struct FunctionObject<NamedFunction<Function>> : NamedFunction<Function> {};

/// Named in the compiler's message, once for each type that is refused.
template <class T>
constexpr bool require_serializable() {
    static_assert(
        Serializable<T>,
        "weft::to_process: a value of this type cannot travel to another process. What can: "
        "numbers, enums, trivially copyable types without pointers, and std's strings, containers, "
        "optional, variant, tuple, pair, array and unique_ptr of such. For a string literal pass a "
        "std::string; for a type with serialize() include <weft/cereal.hpp>; see weft::Codec and "
        "weft::kSendAsBytes in <weft/archive.hpp>");
    return Serializable<T>;
}

template <class F>
constexpr bool require_empty() {
    constexpr bool kPointer = std::is_pointer_v<F> || std::is_member_pointer_v<F>;
    static_assert(!kPointer,
                  "weft::to_process: a pointer to a function means nothing in another process. "
                  "Name the function at compile time: weft::to_process<&work>(x)");
    constexpr bool kEmpty = kPointer || (std::is_empty_v<F> && std::is_default_constructible_v<F>);
    static_assert(kEmpty,
                  "weft::to_process: the function must be a lambda with [] or an empty function "
                  "object. Captures stay in this process: pass what it needs as arguments");
    return !kPointer && kEmpty;
}

/// As of to_thread(): the function takes a std::stop_token first if it can.
template <class F, class... Args>
using ProcessResult = OffloadResult<F&, Args...>;

/// Reads the arguments, calls, and writes what comes out: the code that is found in the worker.
template <class F, class... Args>
void process_thunk(InputArchive& in, OutputArchive& out) {
    std::tuple<Args...> arguments{Codec<Args>::read(in)...};
    in.finish();
    auto call = [](Args&&... values) -> ProcessResult<F, Args...> {
        F function{};
        return call_with_token(stop_token_of_running_call(), function, std::move(values)...);
    };
    using Result = ProcessResult<F, Args...>;
    if constexpr (std::is_void_v<Result>) {
        std::apply(call, std::move(arguments));
    } else {
        Codec<Result>::write(out, std::apply(call, std::move(arguments)));
    }
}

/// A step of a pool's own, run there: writes what went wrong.
void write_failure_of_step(OutputArchive& out);
template <class F>
void step_thunk(InputArchive&, OutputArchive& out) {
    try {
        F function{};
        function();
    } catch (...) {
        write_failure_of_step(out);
    }
}

template <class F, class... Args>
auto call_in_process(rt::process::Pool& pool, std::size_t bytes_max, Repeatable repeatable,
                     const Args&... args) {
    OutputArchive message(bytes_max + kProcessCallHeadroom + kProcessCallExtra);
    begin_process_call(message);
    (Codec<Args>::write(message, args), ...);
    ProcessReply reply = finish_process_call(pool, &process_thunk<F, Args...>,
                                             FunctionObject<F>::name(), repeatable, message);
    InputArchive in(reply.bytes.bytes(), &reply.memories);
    using Result = ProcessResult<F, Args...>;
    if constexpr (std::is_void_v<Result>) {
        in.finish();
    } else {
        Result result = Codec<Result>::read(in);
        in.finish();
        return result;
    }
}

/// What is to be run of what was given, and how often.
template <class F>
struct Marked {
    using Function = F;
    static constexpr Repeatable kRepeatable = Repeatable::no;
};
template <class F>
struct Marked<Idempotent<F>> {
    using Function = F;
    static constexpr Repeatable kRepeatable = Repeatable::yes;
};

/// One clear message for each thing that is wrong, and none that follow from it.
template <class Given, class... Args>
auto checked_call_in_process(rt::process::Pool& pool, std::size_t bytes_max, const Args&... args) {
    using F = typename Marked<Given>::Function;
    constexpr Repeatable kRepeatable = Marked<Given>::kRepeatable;
    constexpr bool kFunction = require_empty<F>();
    constexpr bool kArguments = (require_serializable<Args>() + ... + 0U) == sizeof...(Args);
    if constexpr (kFunction && kArguments) {
        constexpr bool kInvocable = Offloadable<F&, Args...>;
        static_assert(kInvocable,
                      "weft::to_process: the function cannot be called with these arguments. It "
                      "gets values of its own, so its parameters are values or const references");
        if constexpr (kInvocable) {
            using Result = ProcessResult<F, Args...>;
            static_assert(!std::is_reference_v<Result>,
                          "weft::to_process: the function returns a reference, and what it refers "
                          "to stays in the other process: return a value");
            if constexpr (std::is_void_v<Result>) {
                call_in_process<F, Args...>(pool, bytes_max, kRepeatable, args...);
            } else if constexpr (!std::is_reference_v<Result>) {
                if constexpr (require_serializable<std::remove_cv_t<Result>>()) {
                    return call_in_process<F, Args...>(pool, bytes_max, kRepeatable, args...);
                }
            }
        }
    }
}

}  // namespace detail

}  // namespace weft
