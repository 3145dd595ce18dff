// What the network of a simulation does to TCP connections: weft::testing::NetworkOptions.
#pragma once

#include <weft/lowlevel.hpp>

#include <chrono>
#include <cstddef>

namespace weft::detail {

/// The network of a simulation: TCP between its tasks, in memory and in virtual time; the seed decides what happens.
///
/// All addresses are one host's: a connection reaches who listens on its port, on the same address or on "". Other sockets
/// (UDP, Unix) and pipes are the kernel's, also here.
struct NetworkOptions {
    /// False: the kernel's TCP, for peers outside of the simulation. What comes from them is not repeatable.
    bool in_memory = true;
    /// How long a piece is on its way. The bytes of a connection keep their order.
    Duration least_delay = std::chrono::microseconds(10);
    Duration most_delay = std::chrono::milliseconds(2);
    /// One of two writes, about, is cut into pieces that arrive one after another, so that reads are short; and one of four
    /// is taken only in part.
    bool pieces = true;
    /// What a direction of a connection holds before a write has to wait.
    std::size_t buffer = 64 * 1024;
    /// Of each piece: that the connection breaks instead, for both ends (ECONNRESET).
    double reset_probability = 0;
};

}  // namespace weft::detail
