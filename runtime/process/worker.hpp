// A worker process: takes one call after the other from its socket, runs it, answers, until the
// program hangs up.
//
// Who comes in: the fork server's child, right after the fork (fork_server.cpp). Which function is
// meant is found here; what it does with its bytes is the handler's business, which the interface
// above gives.
// Invariant: a call is answered once, or the process is dead.
// Thread rules: the worker's main thread only; the user's function may start threads of its own.
#pragma once

#include <weft/detail/process.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

#include "process/code_address.hpp"
#include "process/frame.hpp"

namespace weft::rt::process {

/// What the program tells its fork server, and it its workers.
struct WorkerSetup {
    std::uint64_t length_max = 0;
    detail::ProcessLimits limits;
    detail::SystemCalls system_calls;
    bool may_be_asked = false;    ///< to give up a call
    std::array<char, 16> name{};  ///< what the kernel calls it
    CodeAddress preload;          ///< all zeros: none
    CodeAddress initializer;
};

/// Runs a step; returns what went wrong, and nothing where there is none to be run. Where even that
/// finds no memory it is cut.
Payload run_step(const CodeAddress& address, detail::ProcessHandler handler) noexcept;

/// The id of what a worker says before its first call: `spawned`, beside it the pipe that is its
/// standard error, then `value` when it is ready; with a text, that it will not be. No call has it.
inline constexpr std::uint64_t kPreparation = 0;

/// Why a worker could not run a call, or not send what came out.
enum class RefusalReason : std::uint32_t { unknown_function = 1, out_of_resources = 2 };

/// The body of a `refused` frame: this, and a text behind it.
struct Refusal {
    RefusalReason reason{};
    std::int32_t error = 0;  ///< errno, for out_of_resources
};

/// sysexits.h: EX_PROTOCOL. The exit status of a server or worker that cannot understand its own
/// program.
inline constexpr int kExitProtocol = 76;

/// Prepares, then serves until the program hangs up.
[[noreturn]] void serve_calls(Descriptor socket, const WorkerSetup& setup,
                              detail::ProcessHandler handler) noexcept;

}  // namespace weft::rt::process
