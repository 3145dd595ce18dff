// The fork server: the program itself, executed anew, which never reaches its main but forks
// workers on request.
//
// A fork of a running program copies locks that other threads hold and costs 17 ms a GiB; this
// process has one thread, has done nothing but run the program's static constructors, and forks in
// 0.15 ms a worker that is the program as it stood at the start of main: its globals are made, its
// tables are warm, and no lock is held.
//
// How it begins. main_wrap.cpp stands before every program's main and calls
// weft_fork_server_main(), which calls detail::enter_main() here. In an ordinary start that
// remembers argv and returns. With the environment variable that spawn_fork_server() sets, it
// becomes the server and does not come back.
//
// How it ends, and its workers with it. Every way the program can end closes its end of the control
// socket: the server sees that, kills its workers, reaps them and leaves. If the server itself is
// killed, the kernel kills the workers (PDEATHSIG, which is about the thread that forked: the
// server has but one). The server has PDEATHSIG too, about the pool's manager thread that spawned
// it. Nobody who could outlive the program holds an end of a socket of ours.
// Each worker leads a process group, so that what it has started ends with it: the server kills the
// group when it reaps the leader, the program does so (Linux 6.9) when it has lost the server. Who
// has left the group (setsid) has left weft.
//
// Rejected: a hook in libweft's own static initialisation (in shared builds it runs before the
// program's globals are made), forking from the program (see above), and a helper executable (it
// has not the program's functions).
// Thread rules: enter_main() in the main thread before main; spawn_fork_server() in the pool's
// manager thread.
#pragma once

#include <cstddef>

#include <sys/types.h>

#include "process/worker.hpp"

namespace weft::rt::process {

struct SpawnedServer {
    pid_t pid = -1;
    Descriptor pidfd;
    Descriptor control;
};

/// Executes the program anew as a fork server that lives no longer than the calling thread. -errno.
int spawn_fork_server(const WorkerSetup& setup, SpawnedServer& server) noexcept;

/// The id of a `hello` that says what went wrong in the preload; the server leaves.
inline constexpr std::uint64_t kPreloadFailed = 1;

}  // namespace weft::rt::process
