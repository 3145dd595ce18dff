// Workers and fork servers that are killed, stopped and lied for at random, in every state that they
// have, thousands of times. Nothing hangs: each call has a time limit that must not run out. No
// result is lost or doubled: each call ends once, in one of the endings that its fate allows, a call
// that is not idempotent has run at most once, and of those that were answered exactly once. Nothing
// is left: no process, no zombie, no descriptor.
//
// 10,000 kills of all kinds of pools together, each time; 700 under a sanitizer. WEFT_CHAOS_KILLS
// says how many else, and WEFT_CHAOS_SEED gives another course of chance, as far as processes on
// several cores have one.
//
// Who is where is on a board in shared memory, which the fork server maps in its preload: each worker
// writes there what it is about to do, and counts the runs of each call. The killer chooses a state
// and waits until somebody is in it. Each process of a pool holds the write end of a FIFO, so its
// reader sees the end of the last of them, whoever that is a child of by then.
#include <weft/process.hpp>
#include <weft/shared_buffer.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <ostream>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "offload/process_support.hpp"
#include "process/frame.hpp"
#include "process/os.hpp"
#include "sanitizers.hpp"

namespace {

using namespace std::chrono_literals;
using weft::ProcessPool;
using weft::ProcessPoolOptions;
using weft::test::hang;
using weft::test::worker_socket;
namespace process = weft::rt::process;

constexpr bool kSanitized = WEFT_ASAN || WEFT_TSAN;

// --- the board ----------------------------------------------------------------------------------

enum class At : std::uint8_t {
    nowhere,
    starting,  // forked, and nothing done yet
    initializer,
    idle,
    running,
    answering,    // the result is made, and under way
    last_answer,  // the same, of a worker that is to be replaced for it
    doomed,       // asked to end
    server,       // anywhere
    server_forks,
};
constexpr std::size_t kStates = 10;
constexpr std::array<const char*, kStates> kNames = {
    "nowhere", "starting",        "in its initializer",   "idle",
    "running", "answering",       "with its last answer", "doomed",
    "server",  "server in a fork"};

constexpr std::size_t kSlots = 256;
constexpr std::uint64_t kCallsMax = 1 << 21;

struct Board {
    struct Slot {
        std::atomic<pid_t> pid;
        std::atomic<At> at;
    };
    std::array<Slot, kSlots> workers;
    Slot server;
    std::array<std::atomic<std::uint8_t>, kCallsMax> runs;

    Slot& slot() noexcept { return workers[static_cast<std::size_t>(::getpid()) % kSlots]; }
};
static_assert(std::atomic<At>::is_always_lock_free && std::atomic<pid_t>::is_always_lock_free);

Board* board = nullptr;  // in the test, and in all processes of its pools

constexpr const char* kBoardVariable = "WEFT_TEST_BOARD";
constexpr const char* kFifoVariable = "WEFT_TEST_FIFO";

Board* map_board(const char* path) {
    process::Descriptor file(::open(path, O_RDWR | O_CLOEXEC));
    void* mapped =
        ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (mapped == MAP_FAILED) std::abort();
    return static_cast<Board*>(mapped);
}

void turn_of_the_others(unsigned times) {
    while (times-- > 0) ::sched_yield();
}

void mark(At at) { board->slot().at.store(at, std::memory_order_seq_cst); }

void forked() {
    Board::Slot& slot = board->slot();
    slot.at.store(At::starting, std::memory_order_seq_cst);
    slot.pid.store(::getpid(), std::memory_order_seq_cst);
    turn_of_the_others(static_cast<unsigned>(::getpid()) % 16);
}

/// The preload: in the fork server.
void show_yourself() {
    // NOLINTBEGIN(concurrency-mt-unsafe)
    board = map_board(std::getenv(kBoardVariable));
    if (::open(std::getenv(kFifoVariable), O_WRONLY | O_CLOEXEC) < 0) std::abort();
    // NOLINTEND(concurrency-mt-unsafe)
    board->server.at.store(At::server, std::memory_order_seq_cst);
    board->server.pid.store(::getpid(), std::memory_order_seq_cst);
    auto server_is = [](At at) { board->server.at.store(at, std::memory_order_seq_cst); };
    static auto before = [server_is] {
        server_is(At::server_forks);
        turn_of_the_others(2);
    };
    static auto after = [server_is] {
        turn_of_the_others(8);  // its worker may be at work before the program knows of it
        server_is(At::server);
    };
    ::pthread_atfork([] { before(); }, [] { after(); }, &forked);
}

/// The initializer.
void take_a_while() {
    mark(At::initializer);
    turn_of_the_others(static_cast<unsigned>(::getpid()) % 32);
    mark(At::idle);
}

// --- calls --------------------------------------------------------------------------------------

enum class Fate : std::uint8_t {
    small,
    large,
    buffers,
    exception,
    forks,   // and answers; its children stay
    greedy,  // asks for more than its worker may have
    dies,
    exits,
    garbage,
    short_frame,
    oversized_frame,
    wrong_id,
    closes_socket,
    hangs,  // this and those below run into a time limit
    lingers,
    stops,
};
constexpr unsigned kFates = 16;

struct Order {
    std::uint64_t id = 0;
    Fate fate{};
    unsigned turns = 0;
    unsigned calls_of_a_worker = 0;  // then it is replaced
    std::size_t leak = 0;
};

struct Answer {
    std::uint64_t id = 0;
    pid_t worker = 0;
    bool operator==(const Answer&) const = default;
};

using Result = std::tuple<Answer, std::string, weft::SharedBuffer>;

constexpr std::size_t kLargeBytes = 200'000;
constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr std::uint64_t kAddressSpace = std::uint64_t{64} << 30;

void send_raw(std::span<const std::byte> packet) {
    const iovec part{const_cast<std::byte*>(packet.data()), packet.size()};
    process::send_packet(worker_socket(), std::span(&part, 1), {}, process::Blocking::yes);
    hang();
}

Result meet(Order order, weft::SharedBuffer given) {
    static unsigned calls = 0;
    mark(At::running);
    board->runs[order.id].fetch_add(1, std::memory_order_seq_cst);
    turn_of_the_others(order.turns);
    if (order.leak != 0) std::memset(std::malloc(order.leak), 1, order.leak);
    Result result{{order.id, ::getpid()}, {}, {}};
    switch (order.fate) {
        case Fate::small:
            break;
        case Fate::large:
            std::get<1>(result).assign(kLargeBytes + order.id % 100, static_cast<char>(order.id));
            break;
        case Fate::buffers: {
            weft::SharedBuffer made(kBufferBytes);
            std::ranges::copy(given.bytes(), made.writable().begin());
            std::get<2>(result) = made;
            break;
        }
        case Fate::exception:
            mark(At::answering);
            throw std::range_error(std::to_string(order.id));
        case Fate::forks:
            for (int child = 0; child < 2; ++child) {
                if (::fork() == 0) {
                    ::close(worker_socket());
                    hang();
                }
            }
            break;
        case Fate::greedy:
            mark(At::answering);
            ::operator delete(::operator new(2 * kAddressSpace));
            break;
        case Fate::dies:
            ::raise(SIGKILL);
            break;
        case Fate::exits:
            ::_exit(3);
        case Fate::garbage:
            send_raw(std::array<std::byte, 100>{});
            break;
        case Fate::short_frame:
            send_raw(std::array<std::byte, 7>{});
            break;
        case Fate::oversized_frame:
            send_raw(std::vector<std::byte>(process::kPacketBytesMax + 1));
            break;
        case Fate::wrong_id: {
            process::OutgoingFrame frame;
            process::make_frame(process::FrameKind::value, ~std::uint64_t{0}, {}, frame);
            send_raw(std::as_bytes(std::span(&frame.header, 1)));
            break;
        }
        case Fate::closes_socket:
            ::close(worker_socket());
            hang();
        case Fate::hangs:
            hang();
        case Fate::lingers: {
            auto handler = [](int) { mark(At::doomed); };
            ::signal(SIGTERM, handler);
            hang();
        }
        case Fate::stops:
            ::raise(SIGSTOP);
            break;
    }
    mark(++calls == order.calls_of_a_worker ? At::last_answer : At::answering);
    return result;
}

/// How a call has ended.
enum class End : std::uint8_t {
    value,
    exception,
    no_memory,
    worker_died,
    not_run,
    timed_out,
    wrong
};

struct Ended {
    End how = End::wrong;
    int signal = 0;
    int status = 0;
    std::string text;
};

bool is_answer(const Order& order, const Result& result, const weft::SharedBuffer& given) {
    const auto& [answer, text, buffer] = result;
    if (answer.id != order.id) return false;
    if (order.fate == Fate::large) {
        return text == std::string(kLargeBytes + order.id % 100, static_cast<char>(order.id));
    }
    if (order.fate == Fate::buffers) return std::ranges::equal(buffer.bytes(), given.bytes());
    return text.empty() && buffer.size() == 0;
}

/// Nothing takes that long but a hang.
constexpr auto kHang = 60s;

Ended run_call(ProcessPool& pool, const Order& order, bool idempotent,
               std::chrono::nanoseconds limit) {
    weft::SharedBuffer given;
    if (order.fate == Fate::buffers) {
        given = weft::SharedBuffer(kBufferBytes);
        std::memcpy(given.writable().data(), &order.id, sizeof order.id);
    }
    try {
        Result result = weft::timeout(limit, [&] {
            if (idempotent) return pool.run(weft::idempotent<&meet>(), order, given);
            return pool.run<&meet>(order, given);
        });
        auto worker = static_cast<std::size_t>(std::get<0>(result).worker);
        At after = At::answering;
        board->workers[worker % kSlots].at.compare_exchange_strong(after, At::idle);
        return {is_answer(order, result, given) ? End::value : End::wrong, 0, 0, "another answer"};
    } catch (const std::range_error& error) {
        bool its_own = error.what() == std::to_string(order.id);
        return {its_own ? End::exception : End::wrong, 0, 0, error.what()};
    } catch (const std::bad_alloc&) {
        return {End::no_memory, 0, 0, {}};
    } catch (const weft::WorkerDied& died) {
        return {End::worker_died, died.signal(), died.exit_status(), died.what()};
    } catch (const weft::TimeoutError&) {
        return {End::timed_out, 0, 0, limit == kHang ? "it hung" : ""};
    } catch (const weft::Error& error) {
        return {End::not_run, 0, 0, error.what()};
    }
}

bool runs_into_its_limit(Fate fate) { return fate >= Fate::hangs; }

/// What the fate alone may end in, however nobody meddles.
bool fate_allows(const Order& order, const Ended& ended) {
    switch (order.fate) {
        case Fate::small:
        case Fate::large:
        case Fate::buffers:
        case Fate::forks:
            return ended.how == End::value;
        case Fate::exception:
            return ended.how == End::exception;
        case Fate::greedy:
            return ended.how == End::no_memory;
        case Fate::exits:
            return ended.how == End::worker_died && ended.status == 3;
        case Fate::dies:
        case Fate::garbage:
        case Fate::short_frame:
        case Fate::oversized_frame:
        case Fate::wrong_id:
        case Fate::closes_socket:
            return ended.how == End::worker_died && ended.signal == SIGKILL;
        case Fate::hangs:
        case Fate::lingers:
            return ended.how == End::timed_out;
        case Fate::stops:
            // Somebody may have let it go on.
            return ended.how == End::timed_out || ended.how == End::value;
    }
    return false;
}

// --- the killer ---------------------------------------------------------------------------------

/// 0 where it is gone.
pid_t parent_of(pid_t pid) {
    char path[48];
    std::snprintf(path, sizeof path, "/proc/%ld/stat", static_cast<long>(pid));
    process::Descriptor file(::open(path, O_RDONLY | O_CLOEXEC));
    char text[512] = {};
    if (!file.open() || ::read(file.get(), text, sizeof text - 1) <= 0) return 0;
    const char* name_end = std::strrchr(text, ')');
    return name_end == nullptr || name_end[1] == '\0' ? 0 : std::atoi(name_end + 4);
}

std::set<pid_t> children_of_this() {
    std::set<pid_t> children;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
        pid_t pid = std::atoi(entry.path().filename().c_str());
        if (pid != 0 && parent_of(pid) == ::getpid()) children.insert(pid);
    }
    return children;
}

/// Sends signals to processes of this test's pools, and to nobody else.
class Killer {
public:
    Killer(std::uint32_t seed, const std::array<unsigned, kStates>& weights)
        : random_(seed), weights_(weights) {}

    /// Until that many are dead by its hand.
    void kill(unsigned wanted) {
        while (total() < wanted) {
            std::discrete_distribution<unsigned> choose(weights_.begin(), weights_.end());
            At at = static_cast<At>(choose(random_));
            if (2 * total() >= wanted) at = rarest(at);
            for (int look = 0; look < 200; ++look) {
                if (signal_somebody(at)) break;
                ::sched_yield();
            }
        }
    }
    unsigned total() const {
        unsigned sum = 0;
        for (unsigned count : killed_) sum += count;
        return sum;
    }
    unsigned killed(At at) const { return killed_[static_cast<std::size_t>(at)]; }
    unsigned stopped() const { return stopped_; }

private:
    /// One that chance has left out until now; else as it was.
    At rarest(At otherwise) const {
        for (std::size_t at = 0; at < kStates; ++at) {
            if (weights_[at] != 0 && killed_[at] == 0) return static_cast<At>(at);
        }
        return otherwise;
    }

    bool signal_somebody(At at) {
        if (at == At::server || at == At::server_forks) {
            Board::Slot& server = board->server;
            bool there = at == At::server || server.at.load(std::memory_order_seq_cst) == at;
            return there && signal(server.pid.load(std::memory_order_seq_cst), at);
        }
        std::size_t first = random_() % kSlots;
        for (std::size_t i = 0; i < kSlots; ++i) {
            Board::Slot& slot = board->workers[(first + i) % kSlots];
            if (slot.at.load(std::memory_order_seq_cst) != at) continue;
            if (signal(slot.pid.load(std::memory_order_seq_cst), at)) return true;
        }
        return false;
    }

    bool signal(pid_t pid, At at) {
        process::Descriptor pidfd;
        if (pid <= 0 || process::open_pidfd(pid, pidfd) != 0) return false;
        // What holds for that number now holds for the handle, or the handle is of a dead process.
        pid_t parent = parent_of(pid);
        bool ours = parent == ::getpid() || (parent > 1 && parent_of(parent) == ::getpid());
        if (!ours || process::wait_for_end(pidfd, 0)) return false;
        if (random_() % 8 == 0) {
            process::kill_by_pidfd(pidfd, SIGSTOP);
            ++stopped_;
            turn_of_the_others(random_() % 64);
            if (random_() % 2 == 0) {
                process::kill_by_pidfd(pidfd, SIGCONT);
                return true;
            }
        }
        if (process::kill_by_pidfd(pidfd, SIGKILL) == 0) ++killed_[static_cast<std::size_t>(at)];
        return true;
    }

    std::mt19937 random_;
    const std::array<unsigned, kStates> weights_;
    std::array<unsigned, kStates> killed_{};
    unsigned stopped_ = 0;
};

// --- kinds of pools -----------------------------------------------------------------------------

struct Kind {
    const char* name;
    // By state, as the enumeration has them.
    std::array<unsigned, kStates> weights;
    unsigned calls = 0;
    bool grows = false;
    bool asks = false;
    bool limited = false;
    bool takes_orphans = false;
    // Of all kills. Fewer where fork servers are among the dead: the pool waits longer and longer
    // before it starts another one.
    unsigned percent = 18;
};

constexpr Kind kKinds[] = {
    {.name = "Plain", .weights = {0, 2, 2, 20, 30, 30, 0, 0, 0, 0}},
    {.name = "ReplacedAfterCalls",
     .weights = {0, 2, 2, 10, 20, 20, 30, 0, 0, 0},
     .calls = 3,
     .takes_orphans = true},
    {.name = "ReplacedAfterGrowth", .weights = {0, 2, 2, 20, 30, 30, 0, 0, 0, 0}, .grows = true},
    {.name = "Asked", .weights = {0, 1, 1, 10, 10, 10, 0, 50, 0, 0}, .asks = true},
    {.name = "OfLittleMemory", .weights = {0, 2, 2, 20, 30, 30, 0, 0, 0, 0}, .limited = true},
    {.name = "WithoutItsServer", .weights = {0, 2, 2, 20, 20, 20, 0, 0, 20, 20}, .percent = 5},
    {.name = "OfAReaper",
     .weights = {0, 2, 2, 20, 20, 20, 0, 0, 20, 20},
     .takes_orphans = true,
     .percent = 5},
};

ProcessPoolOptions options_of(const Kind& kind) {
    ProcessPoolOptions options{.workers = 3,
                               .preload = weft::process_function<&show_yourself>,
                               .initializer = weft::process_function<&take_a_while>};
    options.limits.calls = kind.calls;
    if (kind.grows) options.limits.growth_bytes = std::uint64_t{16} << 20;
    if (kind.limited && !kSanitized) options.limits.address_space_bytes = kAddressSpace;
    if (kind.asks) options.escalation = {.ask = 1ms, .terminate = 3ms};
    return options;
}

/// Board and FIFO of a test, and what was there before it.
class Scene {
public:
    Scene() {
        char directory[] = "/tmp/weft-test-XXXXXX";
        EXPECT_NE(::mkdtemp(directory), nullptr);
        directory_ = directory;
        std::string board_path = directory_ + "/board";
        std::string fifo_path = directory_ + "/fifo";
        process::Descriptor file(::open(board_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
        EXPECT_EQ(::ftruncate(file.get(), sizeof(Board)), 0);
        board = map_board(board_path.c_str());
        EXPECT_EQ(::mkfifo(fifo_path.c_str(), 0600), 0);
        fifo_ = process::Descriptor(::open(fifo_path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
        // NOLINTBEGIN(concurrency-mt-unsafe)
        ::setenv(kBoardVariable, board_path.c_str(), 1);
        ::setenv(kFifoVariable, fifo_path.c_str(), 1);
        // NOLINTEND(concurrency-mt-unsafe)
    }
    ~Scene() {
        // NOLINTBEGIN(concurrency-mt-unsafe)
        ::unsetenv(kBoardVariable);
        ::unsetenv(kFifoVariable);
        // NOLINTEND(concurrency-mt-unsafe)
        ::munmap(board, sizeof(Board));
        board = nullptr;
        std::filesystem::remove_all(directory_);
    }
    Scene(const Scene&) = delete;
    Scene& operator=(const Scene&) = delete;

    /// Whether the last process that has been here is gone, or goes in that time.
    bool is_empty_within(std::chrono::milliseconds time) const {
        pollfd watched{fifo_.get(), 0, 0};
        return ::poll(&watched, 1, static_cast<int>(time.count())) == 1;
    }

private:
    std::string directory_;
    process::Descriptor fifo_;
};

int count_descriptors() {
    auto all = std::filesystem::directory_iterator("/proc/self/fd");
    return static_cast<int>(std::distance(begin(all), end(all)));
}

unsigned number_from(const char* variable, unsigned otherwise) {
    const char* text = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe)
    return text != nullptr ? static_cast<unsigned>(std::atoi(text)) : otherwise;
}

std::ostream& operator<<(std::ostream& out, const Kind& kind) { return out << kind.name; }

class ProcessKills : public testing::TestWithParam<Kind> {};
INSTANTIATE_TEST_SUITE_P(Pools, ProcessKills, testing::ValuesIn(kKinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

/// One after the other, calls of all fates; the books of a task.
struct Client {
    ProcessPool& pool;
    const Kind& kind;
    std::mt19937 random;
    std::atomic<std::uint64_t>& next;
    std::atomic<bool>& enough;
    unsigned calls = 0;
    unsigned deaths = 0;    // that no fate explains
    unsigned failures = 0;  // to get a worker

    void run() {
        while (!enough.load(std::memory_order_seq_cst)) {
            std::uint64_t id = next.fetch_add(1, std::memory_order_seq_cst);
            if (id >= kCallsMax) return;
            one_call(id);
        }
    }

    void one_call(std::uint64_t id) {
        // More of those that answer: the others leave their worker little time to be anything else.
        unsigned drawn = random() % (3 * kFates);
        Order order{.id = id,
                    .fate = static_cast<Fate>(drawn < kFates ? drawn : drawn % 5),
                    .turns = static_cast<unsigned>(random() % 8),
                    .calls_of_a_worker = kind.calls,
                    .leak = kind.grows ? std::size_t{4} << 20 : 0};
        if (order.fate == Fate::greedy && (kSanitized || !kind.limited)) order.fate = Fate::small;
        if (kind.asks && order.fate >= Fate::dies) order.fate = Fate::lingers;
        bool idempotent = random() % 2 == 0;
        bool limited = runs_into_its_limit(order.fate) || random() % 16 == 0;
        auto limit = limited ? std::chrono::microseconds(random() % 4000) : kHang;
        Ended ended = run_call(pool, order, idempotent, limit);
        ++calls;

        unsigned runs = board->runs[id].load(std::memory_order_seq_cst);
        bool killed = ended.how == End::worker_died && ended.signal == SIGKILL;
        bool cancelled = ended.how == End::timed_out && limited;
        bool its_own = fate_allows(order, ended);
        if (killed && !its_own) ++deaths;
        if (ended.how == End::not_run) ++failures;
        EXPECT_TRUE(its_own || killed || cancelled || ended.how == End::not_run)
            << "call " << id << " of fate " << static_cast<int>(order.fate) << " ended as "
            << static_cast<int>(ended.how) << ", signal " << ended.signal << ", status "
            << ended.status << ": " << ended.text;
        bool answered =
            ended.how == End::value || ended.how == End::exception || ended.how == End::no_memory;
        if (answered) {
            EXPECT_GE(runs, 1U) << "call " << id;
        }
        // Once, once more, and after the losses of servers.
        constexpr unsigned kRunsMax = 5;
        EXPECT_LE(runs, idempotent ? kRunsMax : 1U) << "call " << id;
        if (ended.how == End::not_run && !idempotent) {
            EXPECT_EQ(runs, 0U) << ended.text;
        }
    }
};

TEST_P(ProcessKills, LoseAndDoubleNothingAndLeaveNothing) {
    const Kind& kind = GetParam();
    unsigned all = number_from("WEFT_CHAOS_KILLS", kSanitized ? 700 : 10'000);
    unsigned kills = (all * kind.percent + 99) / 100;
    unsigned seed = number_from("WEFT_CHAOS_SEED", 1);

    Scene scene;
    if (kind.takes_orphans) {
        ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    }
    std::set<pid_t> children = children_of_this();
    weft::run([] {}, {.workers = 2});  // what a runtime keeps, it has from now on
    int descriptors = count_descriptors();

    Killer killer(seed, kind.weights);
    std::atomic<std::uint64_t> next{0};
    std::atomic<bool> enough{false};
    std::vector<Client> clients;
    auto begin = std::chrono::steady_clock::now();
    {
        ProcessPool pool(options_of(kind));
        for (unsigned i = 0; i < 6; ++i) {
            clients.push_back({pool, kind, std::mt19937(seed + i), next, enough});
        }
        std::thread killing([&] {
            killer.kill(kills);
            enough.store(true, std::memory_order_seq_cst);
        });
        weft::run(
            [&] {
                std::vector<weft::Task<void>> tasks;
                for (Client& client : clients) {
                    tasks.push_back(weft::create_task([&client] { client.run(); }));
                }
                for (weft::Task<void>& task : tasks) weft::await(task);
            },
            {.workers = 2});
        EXPECT_TRUE(enough.load(std::memory_order_seq_cst)) << "no more numbers for calls";
        killing.join();
        for (int i = 0; i < 10; ++i) {
            // The last that was killed may be the one that gets it.
            try {
                EXPECT_EQ(pool.run([](int x) { return x; }, i), i);
            } catch (const weft::WorkerDied&) {
                EXPECT_LT(i, 4);
            }
        }
        EXPECT_EQ(pool.figures().queued, 0U);
        EXPECT_LE(pool.figures().workers, 3U);
    }
    auto time = std::chrono::steady_clock::now() - begin;

    EXPECT_TRUE(scene.is_empty_within(2s)) << "a process of the pool is left";
    std::set<pid_t> left = children_of_this();
    for (pid_t pid : children) left.erase(pid);
    if (kind.takes_orphans && killer.killed(At::server) + killer.killed(At::server_forks) != 0) {
        // What a killed server has left behind is this process's to reap, as it has asked for.
        std::erase_if(left, [](pid_t pid) { return ::waitpid(pid, nullptr, WNOHANG) == pid; });
    }
    EXPECT_EQ(left, std::set<pid_t>());
    EXPECT_EQ(count_descriptors(), descriptors);
    if (kind.takes_orphans) ::prctl(PR_SET_CHILD_SUBREAPER, 0);
    unsigned calls = 0;
    unsigned deaths = 0;
    unsigned failures = 0;
    for (const Client& client : clients) {
        calls += client.calls;
        deaths += client.deaths;
        failures += client.failures;
    }
    // One for each worker; a server takes its workers along, and the children that one of these has
    // are its own.
    unsigned servers = killer.killed(At::server) + killer.killed(At::server_forks);
    EXPECT_LE(deaths, killer.total() + 3 * servers);
    std::string table;
    for (std::size_t at = 1; at < kStates; ++at) {
        unsigned count = killer.killed(static_cast<At>(at));
        if (kind.weights[at] == 0) continue;
        EXPECT_GT(count, 0U) << kNames[at];
        table += std::string(table.empty() ? "" : ", ") + std::to_string(count) + " " + kNames[at];
    }
    std::printf(
        "%u kills (%s), %u stops; %u calls, %u of them killed, %u without a worker; %.1f s\n",
        killer.total(), table.c_str(), killer.stopped(), calls, deaths, failures,
        std::chrono::duration<double>(time).count());
}

// --- one at a time ------------------------------------------------------------------------------

void stop_yourself(std::string path) {
    weft::test::Messenger::tell(path, ::getpid());
    ::raise(SIGSTOP);
}

TEST(ProcessStopped, WorkerOfACallThatRunsIntoItsTimeLimitIsReplaced) {
    for (auto grace : {0ms, 5ms}) {
        ProcessPoolOptions options{.workers = 1};
        options.escalation.terminate = grace;
        ProcessPool pool(options);
        weft::test::Messenger messenger;
        weft::run([&] {
            auto call = weft::create_task([&] { pool.run<&stop_yourself>(messenger.path()); });
            weft::test::Watched worker(weft::to_thread([&] { return messenger.hear(); }));
            call.cancel();
            EXPECT_THROW(weft::await(call), weft::CancelledError);
            EXPECT_TRUE(weft::to_thread([&] { return worker.ends(); }));
        });
        EXPECT_EQ(pool.run([] { return 1; }), 1);
    }
}

TEST(ProcessStopped, WorkerAndServerEndWithThePool) {
    auto pool = std::make_unique<ProcessPool>(ProcessPoolOptions{.workers = 1});
    weft::test::Watched worker(pool->run([] { return ::getpid(); }));
    weft::test::Watched server(pool->run([] { return ::getppid(); }));
    worker.kill(SIGSTOP);
    pool.reset();
    EXPECT_FALSE(worker.lives());
    EXPECT_FALSE(server.lives());
}

TEST(ProcessStopped, WorkerThatGoesOnAnswersAsIfNothingHadBeen) {
    ProcessPool pool{{.workers = 1}};
    weft::test::Messenger messenger;
    std::thread other([&] {
        weft::test::Watched worker(messenger.hear());
        // It may be about to stop, so one may come too early.
        while (worker.lives() && pool.figures().idle == 0) worker.kill(SIGCONT);
    });
    EXPECT_NO_THROW(pool.run<&stop_yourself>(messenger.path()));
    other.join();
}

/// In a call: its number, out of what came from the program. The engine keeps the packet in a static
/// array, so it lies among the program's zeroed data.
extern "C" char __bss_start;  // NOLINT(bugprone-reserved-identifier): the linker's
extern "C" char _end;         // NOLINT(bugprone-reserved-identifier): the linker's
__attribute__((no_sanitize("address", "thread"))) std::uint64_t number_of_this_call() {
    constexpr std::size_t kStep = 16;
    auto begin = reinterpret_cast<std::uintptr_t>(&__bss_start);
    auto end = reinterpret_cast<std::uintptr_t>(&_end) - sizeof(process::FrameHeader);
    for (auto at = begin / kStep * kStep + kStep; at < end; at += kStep) {
        const auto* header = reinterpret_cast<const volatile process::FrameHeader*>(at);
        if (header->magic == process::kFrameMagic && header->version == process::kFrameVersion &&
            header->kind == process::FrameKind::call) {
            return header->id;
        }
    }
    std::abort();
}

void send_of_kind(process::FrameKind kind, std::span<const std::byte> body) {
    process::OutgoingFrame frame;
    process::make_frame(kind, number_of_this_call(), body, frame);
    process::send_frame(worker_socket(), frame, process::Blocking::yes);
}

TEST(ProcessGarbage, WithTheRightNumberAndAKindThatIsNoAnswerKillsItsWorker) {
    ProcessPool pool{{.workers = 1}};
    for (auto kind : {process::FrameKind::hello, process::FrameKind::spawn_failed,
                      process::FrameKind::exited, process::FrameKind::call}) {
        weft::WorkerDied died = weft::test::death_of([&] {
            pool.run(
                [](process::FrameKind lie) {
                    send_of_kind(lie, {});
                    hang();
                },
                kind);
        });
        EXPECT_EQ(died.signal(), SIGKILL);
        EXPECT_NE(std::string(died.what()).find("it answers another call"), std::string::npos)
            << died.what();
    }
}

TEST(ProcessGarbage, ASecondAnswerIsNobodys) {
    ProcessPool pool{{.workers = 1}};
    for (int round = 0; round < 20; ++round) {
        // As the archive writes an int; then comes the worker's own answer, 2.
        int answer = pool.run([] {
            const int one = 1;
            send_of_kind(process::FrameKind::value, std::as_bytes(std::span(&one, 1)));
            return 2;
        });
        EXPECT_EQ(answer, 1);
        // A call that this worker had already got dies with it; none gets the 2.
        try {
            EXPECT_EQ(pool.run([] { return 7; }), 7);
        } catch (const weft::WorkerDied& died) {
            EXPECT_NE(std::string(died.what()).find("an answer that is none"), std::string::npos)
                << died.what();
        }
    }
}

/// A program with a pool whose workers are everywhere; it ends only by being killed.
void be_a_busy_program(std::string path) {
    ProcessPoolOptions options{.workers = 4,
                               .preload = weft::process_function<&show_yourself>,
                               .initializer = weft::process_function<&take_a_while>};
    options.limits.calls = 5;
    ProcessPool pool(options);
    board = map_board(std::getenv(kBoardVariable));  // NOLINT(concurrency-mt-unsafe)
    std::atomic<std::uint64_t> next{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 6; ++i) {
        callers.emplace_back([&] {
            for (;;) {
                std::uint64_t id = next.fetch_add(1, std::memory_order_seq_cst) % kCallsMax;
                Order order{.id = id, .fate = id % 4 == 0 ? Fate::forks : Fate::large, .turns = 4};
                pool.run<&meet>(order, weft::SharedBuffer(kBufferBytes));
                if (id == 20) weft::test::Messenger::tell(path, ::getpid());
            }
        });
    }
    for (std::thread& caller : callers) caller.join();
}

TEST(ProcessEnd, OfAKilledProgramIsThatOfAllItsProcessesWithinATenthOfASecond) {
    std::vector<std::chrono::nanoseconds> times;
    for (int round = 0; round < 15; ++round) {
        Scene scene;
        weft::test::Messenger messenger;
        ProcessPool pool{{.workers = 1}};
        std::thread caller(
            [&] { weft::test::death_of([&] { pool.run<&be_a_busy_program>(messenger.path()); }); });
        weft::test::Watched program(messenger.hear());
        auto begin = std::chrono::steady_clock::now();
        program.kill(SIGKILL);
        EXPECT_TRUE(scene.is_empty_within(20s));
        times.push_back(std::chrono::steady_clock::now() - begin);
        caller.join();
    }
    // Of a machine that is busy with other things some may take longer.
    std::ranges::sort(times);
    EXPECT_LT(times[times.size() * 4 / 5], kSanitized ? 2s : 100ms);
    EXPECT_LT(times.back(), kSanitized ? 20s : 2s);
    std::printf("median %.1f ms, at most %.1f ms\n",
                std::chrono::duration<double, std::milli>(times[times.size() / 2]).count(),
                std::chrono::duration<double, std::milli>(times.back()).count());
}

}  // namespace
