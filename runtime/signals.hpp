// What the engine's own handler of SIGINT and the subscribers of signals must agree on.
#pragma once

#include <csignal>

namespace weft::rt {

/// If the signal's handler is `expected`, puts `wanted` in its place; false: it is another one. While somebody subscribes to
/// the signal this is about what will be put back when nobody does. Any thread.
bool replace_disposition(int signal, sighandler_t expected,
                         const struct sigaction& wanted) noexcept;

}  // namespace weft::rt
