#include "process/worker.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "process/asking.hpp"
#include "process/seccomp.hpp"

namespace weft::rt::process {

namespace {

void flush_unless_held(FILE* stream) noexcept {
    if (::ftrylockfile(stream) != 0) return;
    std::fflush(stream);
    ::funlockfile(stream);
}

/// A thread that a call has left behind may wait for input for ever, with its stream locked; to
/// flush all of them waits for each. Whoever has threads flushes what is not one of these.
void flush_streams() noexcept {
    if (__libc_single_threaded != 0) {
        std::fflush(nullptr);
        return;
    }
    flush_unless_held(stdout);
    flush_unless_held(stderr);
}

[[noreturn]] void leave(int status) noexcept {
    flush_streams();
    // Not exit(): the program's static objects belong to the program; one that removes a lock file
    // at its end must do so once, and there.
    ::_exit(status);
}

struct Answer {
    FrameKind kind = FrameKind::value;
    Payload body;
    std::unique_ptr<detail::SharedMemoryList> memories;
};

/// find_code(), with no text where there is no memory for one.
const void* find_code_or_tell(const CodeAddress& address, std::string& why) noexcept {
    try {
        return find_code(address, why);
    } catch (const std::bad_alloc&) {
        why.clear();
        return nullptr;
    }
}

/// A text that finds no memory is left out.
void refuse(Answer& answer, RefusalReason reason, int error, std::string_view text) noexcept {
    answer.kind = FrameKind::refused;
    answer.body = {};
    answer.memories = nullptr;
    Refusal refusal{reason, error};
    std::size_t size = sizeof refusal + text.size();
    auto* block = static_cast<std::byte*>(std::malloc(size));
    if (block == nullptr) return;
    std::memcpy(block, &refusal, sizeof refusal);
    std::memcpy(block + sizeof refusal, text.data(), text.size());
    answer.body = Payload(block, size, Payload::Origin::malloc);
}

void run(IncomingFrame& frame, std::size_t length_max, detail::ProcessHandler handler,
         Answer& answer) noexcept {
    std::span<const std::byte> body = frame.body.bytes();
    CodeAddress address;
    if (body.size() < sizeof address) {
        refuse(answer, RefusalReason::unknown_function, 0, "the call does not say which function");
        return;
    }
    std::memcpy(&address, body.data(), sizeof address);
    std::string why;
    const void* code = find_code_or_tell(address, why);
    if (code == nullptr) {
        refuse(answer, RefusalReason::unknown_function, 0, why);
        return;
    }
    detail::ProcessAnswer made;
    handler(code, body.subspan(sizeof address), frame.memories, length_max, made);
    answer.kind =
        made.kind == detail::ProcessAnswer::Kind::value ? FrameKind::value : FrameKind::exception;
    answer.body = std::move(made.bytes);
    answer.memories = std::move(made.memories);
}

/// Makes standard error a pipe of which the program has the other end. Where there is none, it stays
/// what the program's is.
void hand_over_stderr(int socket) noexcept {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    Descriptor reading(ends[0]);
    Descriptor writing(ends[1]);
    OutgoingFrame frame;
    if (make_frame(FrameKind::spawned, kPreparation, {}, frame) != 0 ||
        send_frame(socket, frame, Blocking::yes, reading.get()) != 0) {
        return;
    }
    ::dup2(writing.get(), STDERR_FILENO);
}

void say_prepared(int socket, FrameKind kind, std::span<const std::byte> what_went_wrong) noexcept {
    constexpr std::size_t kTextBytesMax = 400;
    std::span<const std::byte> text = what_went_wrong;
    OutgoingFrame frame;
    make_frame(kind, kPreparation, text.first(std::min(text.size(), kTextBytesMax)), frame);
    // A program that is gone is met again at the first call.
    send_frame(socket, frame, Blocking::yes);
}

/// For this process and what it starts, for ever; 0: as it is.
void limit(__rlimit_resource resource, std::uint64_t value) noexcept {
    rlimit now{};
    if (value == 0 || ::getrlimit(resource, &now) != 0) return;
    now.rlim_max = std::min<rlim_t>(value, now.rlim_max);
    now.rlim_cur = now.rlim_max;
    ::setrlimit(resource, &now);
}

/// From now on. The limit is about a process's whole life, so each call moves it; the hard limit
/// stays, since it could not be moved up again.
void limit_call(std::uint64_t cpu_seconds) noexcept {
    rusage used{};
    rlimit now{};
    if (cpu_seconds == 0 || ::getrusage(RUSAGE_SELF, &used) != 0) return;
    if (::getrlimit(RLIMIT_CPU, &now) != 0) return;
    // The kernel counts nanoseconds in 64 bits; beyond that there is no limit worth the name.
    constexpr std::uint64_t kSecondsMax = std::uint64_t{1} << 33;
    if (cpu_seconds > kSecondsMax) return;
    constexpr std::int64_t kMicro = 1'000'000;
    std::int64_t micro = used.ru_utime.tv_usec + used.ru_stime.tv_usec;
    std::int64_t seconds =
        used.ru_utime.tv_sec + used.ru_stime.tv_sec + (micro + kMicro - 1) / kMicro;
    now.rlim_cur = std::min<rlim_t>(static_cast<rlim_t>(seconds) + cpu_seconds, now.rlim_max);
    ::setrlimit(RLIMIT_CPU, &now);
}

/// A result that cannot be sent is told in its place; a program that is gone ends the worker.
void send_answer(int socket, std::uint64_t id, Answer& answer) noexcept {
    OutgoingFrame frame;
    int error = make_frame(answer.kind, id, answer.body.bytes(), frame, answer.memories.get());
    // What stays with a worker is measured once its answer is there: so nothing of it is kept here.
    if (frame.memfd.open()) answer.body = {};
    if (error == 0) error = send_frame(socket, frame, Blocking::yes);
    if (error == 0) return;
    if (error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN) leave(0);
    refuse(answer, RefusalReason::out_of_resources, -error,
           "the worker process could not send the result");
    OutgoingFrame told;
    if (make_frame(answer.kind, id, answer.body.bytes(), told) != 0 ||
        send_frame(socket, told, Blocking::yes) != 0) {
        leave(kExitProtocol);
    }
}

}  // namespace

Payload run_step(const CodeAddress& address, detail::ProcessHandler handler) noexcept {
    if (address.object == CodeAddress{}.object) return {};
    constexpr std::size_t kTextBytesMax = 4096;
    std::string why;
    const void* code = find_code_or_tell(address, why);
    if (code == nullptr) {
        if (why.empty()) why = "not found";
        Payload text;
        copy_payload(std::as_bytes(std::span(why)), text);
        return text;
    }
    detail::ProcessAnswer made;
    detail::ArrivedFiles none;
    handler(code, {}, none, kTextBytesMax, made);
    // What it printed is not to be printed again by each fork.
    std::fflush(nullptr);
    if (made.kind == detail::ProcessAnswer::Kind::value) return std::move(made.bytes);
    static constexpr std::array kUnknown = {std::byte{'?'}};
    Payload text;
    copy_payload(kUnknown, text);
    return text;
}

namespace {

void say_unprepared(int socket, const char* what, int error) noexcept {
    char text[128];
    int length = std::snprintf(text, sizeof text, "%s: %s", what, ::strerrordesc_np(-error));
    say_prepared(socket, FrameKind::refused,
                 std::as_bytes(std::span(text).first(static_cast<std::size_t>(length))));
}

/// After what would open files later: the identity of objects without a build-id, the time zone.
int confine_worker(const detail::SystemCalls& allowed) noexcept {
    try {
        remember_files();
    } catch (const std::bad_alloc&) {
        return -ENOMEM;
    }
    ::tzset();
    return confine(allowed);
}

void prepare(int socket, const WorkerSetup& setup, detail::ProcessHandler handler) noexcept {
    const pid_t server = ::getppid();
    ::prctl(PR_SET_NAME, setup.name.data());
    limit(RLIMIT_AS, setup.limits.address_space_bytes);
    limit(RLIMIT_NOFILE, setup.limits.open_files);
    limit(RLIMIT_NPROC, setup.limits.processes);
    limit_call(setup.limits.cpu_seconds);
    int error = setup.may_be_asked ? prepare_for_asks() : 0;
    if (error != 0) return say_unprepared(socket, "it has no thread that hears asks", error);
    const bool confined = !setup.system_calls.are_all();
    // Else glibc asks how memory is promised, by a file, when an arena of another thread shrinks.
    if (confined) ::mallopt(M_ARENA_MAX, 1);
    Payload wrong = run_step(setup.initializer, handler);
    // The kernel forgets it where an initializer takes another user's rights.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != server) leave(0);
    if (wrong.bytes().empty() && confined) error = confine_worker(setup.system_calls);
    if (error != 0) return say_unprepared(socket, "its system calls cannot be confined", error);
    say_prepared(socket, FrameKind::value, wrong.bytes());
}

}  // namespace

void serve_calls(Descriptor socket, const WorkerSetup& setup,
                 detail::ProcessHandler handler) noexcept {
    static std::array<std::byte, kPacketBytesMax + 1> buffer;
    const std::size_t length_max = setup.length_max;
    hand_over_stderr(socket.get());
    prepare(socket.get(), setup, handler);
    for (;;) {
        IncomingFrame frame = receive_frame(socket.get(), buffer, length_max, Blocking::yes);
        if (frame.closed || frame.error == -ECONNRESET) leave(0);
        bool no_room = frame.bad == FrameError::no_resources;
        if (frame.error != 0 || (frame.bad != FrameError::none && !no_room) ||
            frame.header.kind != FrameKind::call) {
            std::fprintf(stderr,
                         "weft: worker process %ld got a frame that is none (%s); it ends\n",
                         static_cast<long>(::getpid()),
                         frame.error != 0 ? ::strerrordesc_np(-frame.error) : describe(frame.bad));
            leave(kExitProtocol);
        }
        Answer answer;
        if (no_room) {
            refuse(answer, RefusalReason::out_of_resources, frame.shortage,
                   "the worker process could not take the arguments");
        } else {
            limit_call(setup.limits.cpu_seconds);
            begin_call(frame.header.id);
            run(frame, length_max, handler, answer);
            frame.body = {};
        }
        // What the call printed stands there before its caller goes on, and is not lost if this
        // process is killed.
        flush_streams();
        send_answer(socket.get(), frame.header.id, answer);
    }
}

}  // namespace weft::rt::process
