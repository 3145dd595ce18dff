// SharedBuffer on its way: its memory goes to workers and back without being copied, and whatever
// happens there leaves nothing open and nobody able to change it.
#include <weft/process.hpp>
#include <weft/shared_buffer.hpp>
#include <weft/weft.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "offload/buffer_support.hpp"
#include "offload/process_support.hpp"
#include "process/frame.hpp"
#include "process/shared_memory.hpp"

namespace {

using weft::ArchiveError;
using weft::ProcessPool;
using weft::SharedBuffer;
using weft::WorkerDied;
using weft::test::count_descriptors;
using weft::test::count_mappings;
using weft::test::counting;
using weft::test::counts;
using weft::test::hang;
using weft::test::mapping_at;
using weft::test::Messenger;
using weft::test::Open;
using weft::test::text_of;
namespace process = weft::rt::process;

/// Two buffers arrive, and the first is read before the reading fails.
struct Unreadable {
    std::array<SharedBuffer, 2> buffers;
};

}  // namespace

template <>
struct weft::Codec<Unreadable> {
    static void write(OutputArchive& out, const Unreadable& value) { out.write(value.buffers); }
    static Unreadable read(InputArchive& in) {
        in.read<SharedBuffer>();
        throw std::length_error("unreadable");
    }
};

namespace {

// --- to workers and back ------------------------------------------------------------------------

TEST(SharedBufferProcess, ArrivesWithItsBytesSealedAndReadOnly) {
    ProcessPool pool{{.workers = 1}};
    SharedBuffer sent = counting(100'000);
    std::string flags = pool.run(
        [](const SharedBuffer& in) {
            if (!counts(in)) throw std::runtime_error("other bytes");
            if (!in.is_sealed()) throw std::runtime_error("not sealed");
            return mapping_at(in.bytes().data()).flags;
        },
        sent);
    EXPECT_EQ(flags, "r--p");
    EXPECT_TRUE(sent.is_sealed());
    EXPECT_SAYS(text_of([&] { pool.run([](SharedBuffer in) { in.writable(); }, sent); }),
                "UsageError: weft::SharedBuffer::writable: it is sealed");
}

TEST(SharedBufferProcess, IsTheSameFileThereAndWhenItComesBack) {
    ProcessPool pool{{.workers = 1}};
    SharedBuffer sent = counting(1 << 20);
    std::uint64_t inode = mapping_at(sent.bytes().data()).inode;
    ASSERT_NE(inode, 0U);
    auto [back, there] = pool.run(
        [](SharedBuffer in) {
            return std::pair<SharedBuffer, std::uint64_t>(in, mapping_at(in.bytes().data()).inode);
        },
        sent);
    EXPECT_EQ(there, inode);
    EXPECT_EQ(mapping_at(back.bytes().data()).inode, inode);
    EXPECT_NE(back.bytes().data(), sent.bytes().data());
    EXPECT_TRUE(counts(back));
}

TEST(SharedBufferProcess, MadeByTheWorkerComesBackAsTheFileThatTheWorkerWrote) {
    ProcessPool pool{{.workers = 1}};
    auto [made, inode] = pool.run([] {
        SharedBuffer out = counting(1 << 20);
        return std::pair<SharedBuffer, std::uint64_t>(out, mapping_at(out.bytes().data()).inode);
    });
    EXPECT_TRUE(made.is_sealed());
    EXPECT_TRUE(counts(made));
    EXPECT_EQ(mapping_at(made.bytes().data()).inode, inode);
}

TEST(SharedBufferProcess, TravelsInsideOfContainersBesideOtherValues) {
    ProcessPool pool{{.workers = 1}};
    using Named = std::map<std::string, std::vector<SharedBuffer>>;
    Named sent{{"none", {}}, {"one", {counting(10)}}, {"two", {SharedBuffer(), counting(20)}}};
    auto [back, sizes] = pool.run(
        [](const Named& in, std::optional<SharedBuffer> extra) {
            std::vector<std::size_t> found;
            for (const auto& [name, buffers] : in) {
                for (const SharedBuffer& buffer : buffers) {
                    if (!counts(buffer)) throw std::runtime_error(name);
                    found.push_back(buffer.size());
                }
            }
            found.push_back(extra->size());
            return std::tuple(in, found);
        },
        sent, std::optional(counting(30)));
    EXPECT_EQ(sizes, (std::vector<std::size_t>{40, 0, 80, 120}));
    EXPECT_TRUE(counts(back.at("one")[0]));
    EXPECT_TRUE(back.at("two")[0].empty());
    EXPECT_TRUE(counts(back.at("two")[1]));
}

TEST(SharedBufferProcess, GoesTogetherWithAMessageThatHasAFileOfItsOwn) {
    ProcessPool pool{{.workers = 1}};
    std::vector<int> large(1'000'000, 3);
    auto [back, buffer] =
        pool.run([](std::vector<int> values, SharedBuffer in) { return std::pair(values, in); },
                 large, counting(5000));
    EXPECT_EQ(back, large);
    EXPECT_TRUE(counts(buffer));
}

TEST(SharedBufferProcess, SeveralTimesInAMessageIsOneMemoryOnTheOtherSide) {
    ProcessPool pool{{.workers = 1}};
    SharedBuffer sent = counting(5000);
    std::vector<SharedBuffer> often(100, sent);
    auto same = [](const std::vector<SharedBuffer>& in) {
        return std::ranges::all_of(
            in, [&](const SharedBuffer& b) { return b.bytes().data() == in[0].bytes().data(); });
    };
    EXPECT_TRUE(pool.run(
        [](std::vector<SharedBuffer> in) {
            return std::ranges::all_of(in, [&](const SharedBuffer& b) {
                return b.bytes().data() == in[0].bytes().data();
            });
        },
        often));
    EXPECT_TRUE(same(pool.run([](SharedBuffer in) { return std::vector(100, in); }, sent)));
}

TEST(SharedBufferProcess, SixteenGoInACallAndSeventeenAreAnArchiveError) {
    ProcessPool pool{{.workers = 1}};
    int before = count_descriptors();
    auto sum = [](const std::vector<SharedBuffer>& in) {
        std::size_t bytes = 0;
        for (const SharedBuffer& buffer : in) bytes += buffer.size();
        return bytes;
    };
    auto produce = [](int count) {
        std::vector<SharedBuffer> made;
        for (int i = 0; i < count; ++i) made.emplace_back(100);
        return made;
    };
    pool.run([] {});
    int with_pool = count_descriptors();
    {
        std::vector<SharedBuffer> buffers;
        for (int i = 0; i < 16; ++i) buffers.push_back(counting(25));
        EXPECT_EQ(pool.run(sum, buffers), 1600U);
        buffers.push_back(counting(25));
        EXPECT_SAYS(text_of([&] { pool.run(sum, buffers); }), "at most 16 shared buffers");
    }
    EXPECT_EQ(pool.run(produce, 16).size(), 16U);
    EXPECT_THROW(pool.run(produce, 17), ArchiveError);
    EXPECT_EQ(count_descriptors(), with_pool);
    EXPECT_GT(with_pool, before);
}

TEST(SharedBufferProcess, DoesNotCountAgainstTheLimitOfAMessage) {
    ProcessPool pool{{.workers = 1, .message_bytes_max = 64 << 10}};
    EXPECT_TRUE(counts(pool.run([](SharedBuffer in) { return in; }, counting(1 << 20))));
    EXPECT_THROW(pool.run([](std::string s) { return s; }, std::string(100'000, 'x')),
                 ArchiveError);
}

TEST(SharedBufferProcess, CanBeSentOnByAWorkerToAWorkerOfItsOwn) {
    ProcessPool pool{{.workers = 1}};
    SharedBuffer sent = counting(5000);
    SharedBuffer back = pool.run(
        [](SharedBuffer in) {
            ProcessPool inner{{.workers = 1}};
            return inner.run([](SharedBuffer innermost) { return innermost; }, in);
        },
        sent);
    EXPECT_EQ(mapping_at(back.bytes().data()).inode, mapping_at(sent.bytes().data()).inode);
}

// --- nothing is left ----------------------------------------------------------------------------

std::array<int, 2> open_in_worker() { return {count_descriptors(), count_mappings()}; }

TEST(SharedBufferProcess, LeavesNothingOpenOnEitherSideAfterManyCalls) {
    ProcessPool pool{{.workers = 1}};
    auto in_worker = pool.run<&open_in_worker>();
    Open here;
    for (int round = 0; round < 200; ++round) {
        SharedBuffer sent = counting(5000);
        auto back = pool.run(
            [](SharedBuffer in, SharedBuffer other) {
                return std::tuple(SharedBuffer(100), in, other, counting(10));
            },
            sent, counting(100));
        ASSERT_TRUE(counts(std::get<3>(back)));
    }
    EXPECT_EQ(Open(), here);
    EXPECT_EQ(pool.run<&open_in_worker>(), in_worker);
}

TEST(SharedBufferProcess, LeavesNothingOpenWhereTheFunctionThrowsOrAnArchiveDoes) {
    ProcessPool pool{{.workers = 1, .message_bytes_max = 64 << 10}};
    auto in_worker = pool.run<&open_in_worker>();
    Open here;
    std::string large(100'000, 'x');
    for (int round = 0; round < 20; ++round) {
        SharedBuffer sent = counting(100);
        EXPECT_THROW(pool.run([](SharedBuffer) { throw std::domain_error("there"); }, sent),
                     std::domain_error);
        EXPECT_THROW(pool.run([](SharedBuffer, std::string) {}, sent, large), ArchiveError);
        EXPECT_THROW(pool.run(
                         [](SharedBuffer in) {
                             return std::tuple(in, SharedBuffer(10), std::string(100'000, 'x'));
                         },
                         sent),
                     ArchiveError);
    }
    EXPECT_EQ(Open(), here);
    EXPECT_EQ(pool.run<&open_in_worker>(), in_worker);
}

TEST(SharedBufferProcess, LeavesNothingOpenWhereWhatCameIsNotRead) {
    ProcessPool pool{{.workers = 1}};
    auto in_worker = pool.run<&open_in_worker>();
    Open here;
    for (int round = 0; round < 20; ++round) {
        Unreadable sent{{SharedBuffer(100), SharedBuffer(200)}};
        EXPECT_THROW(pool.run([](const Unreadable&) {}, sent), std::length_error);
        EXPECT_THROW(pool.run([] { return Unreadable{{SharedBuffer(100), SharedBuffer(200)}}; }),
                     std::length_error);
    }
    EXPECT_EQ(Open(), here);
    EXPECT_EQ(pool.run<&open_in_worker>(), in_worker);
}

TEST(SharedBufferProcess, GivesNoDescriptorToProgramsThatAreStarted) {
    ProcessPool pool{{.workers = 1}};
    int in_worker = pool.run<&weft::test::count_inheritable>();
    int here = weft::test::count_inheritable();
    auto [back, there] = pool.run(
        [](SharedBuffer in) {
            std::vector<SharedBuffer> held{in, SharedBuffer(100)};
            return std::pair(held, weft::test::count_inheritable());
        },
        counting(100));
    EXPECT_EQ(there, in_worker);
    EXPECT_EQ(weft::test::count_inheritable(), here);
}

TEST(SharedBufferProcess, LeavesNothingOpenWhereTheWorkerDies) {
    ProcessPool pool{{.workers = 1}};
    pool.run([] {});
    SharedBuffer sent = counting(5000);
    Open here;
    for (int round = 0; round < 5; ++round) {
        EXPECT_THROW(pool.run(
                         [](SharedBuffer in) {
                             ::raise(SIGKILL);
                             return in;
                         },
                         sent),
                     WorkerDied);
        EXPECT_TRUE(pool.run([](const SharedBuffer& in) { return counts(in); }, sent))
            << "the same buffer goes to the next worker";
    }
    EXPECT_EQ(Open(), here);
}

TEST(SharedBufferProcess, LeavesNothingOpenWhereTheCallIsCancelled) {
    weft::run([] {
        ProcessPool pool{{.workers = 1}};
        pool.run([] {});
        SharedBuffer sent = counting(5000);
        Messenger messenger;
        Open here;
        for (int round = 0; round < 5; ++round) {
            auto running = weft::create_task([&] {
                pool.run(
                    [](SharedBuffer, std::string path) {
                        Messenger::tell(path, 1);
                        hang();
                    },
                    sent, messenger.path());
            });
            weft::to_thread([&] { return messenger.hear(); });
            auto queued = weft::create_task([&] { pool.run([](SharedBuffer) {}, sent); });
            weft::sleep(std::chrono::seconds(0));
            queued.cancel();
            running.cancel();
            EXPECT_THROW(weft::await(queued), weft::CancelledError);
            EXPECT_THROW(weft::await(running), weft::CancelledError);
            EXPECT_TRUE(pool.run([](const SharedBuffer& in) { return counts(in); }, sent));
        }
        // The killed worker's socket and handle go when it has been buried.
        while (Open() != here) std::this_thread::yield();
    });
}

TEST(SharedBufferProcess, WithoutADescriptorForTheResultIsAClearErrorAndTheWorkerLives) {
    ProcessPool pool{{.workers = 1}};
    auto produce = [] { return std::tuple(counting(10), counting(20), ::getpid()); };
    pid_t worker = std::get<2>(pool.run(produce));
    Open here;
    int free_number = 0;
    while (::fcntl(free_number, F_GETFD) != -1) ++free_number;
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    std::vector<std::exception_ptr> caught;
    for (int left : {0, 1}) {
        rlimit low = before;
        low.rlim_cur = static_cast<rlim_t>(free_number + left);
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
        try {
            pool.run(produce);
        } catch (...) {
            caught.push_back(std::current_exception());
        }
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    }
    ASSERT_EQ(caught.size(), 2U);
    for (const std::exception_ptr& error : caught) {
        EXPECT_SAYS(text_of([&] { std::rethrow_exception(error); }),
                    "to take the result: Too many open files");
    }
    EXPECT_EQ(Open(), here);
    EXPECT_EQ(std::get<2>(pool.run(produce)), worker);
}

// --- workers that lie ---------------------------------------------------------------------------

/// Answers its own call with a buffer that is as the test wants it, and hangs.
void answer_with(std::uint64_t size_told, const std::vector<int>& passed) {
    weft::OutputArchive out;
    out.write(true);
    out.write_size(0);
    process::OutgoingFrame frame;
    weft::detail::SharedMemoryList list;
    if (weft::detail::make_shared_memory(size_told, list.items[0]) != 0) std::abort();
    list.count = 1;
    // The number of a call is its place among all of this program's.
    process::make_frame(process::FrameKind::value, 1, out.bytes(), frame, &list);
    const iovec parts[] = {
        {&frame.header, sizeof frame.header},
        {frame.memory_sizes.data(), sizeof frame.memory_sizes[0]},
        {out.bytes().data(), out.bytes().size()},
    };
    process::send_packet(weft::test::worker_socket(), parts, passed, process::Blocking::yes);
    hang();
}
int memory_file(std::size_t size, int seals) {
    int memfd = ::memfd_create("lie", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (::fallocate(memfd, 0, 0, static_cast<off_t>(size)) != 0) std::abort();
    if (::fcntl(memfd, F_ADD_SEALS, seals) != 0) std::abort();
    return memfd;
}
constexpr int kAllSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

SharedBuffer lie_unsealed() {
    answer_with(4096, {memory_file(4096, 0)});
    return {};
}
SharedBuffer lie_writable() {
    answer_with(4096, {memory_file(4096, F_SEAL_SHRINK | F_SEAL_GROW)});
    return {};
}
SharedBuffer lie_shrinkable() {
    answer_with(4096, {memory_file(4096, F_SEAL_GROW | F_SEAL_WRITE)});
    return {};
}
SharedBuffer lie_about_the_size() {
    answer_with(8192, {memory_file(4096, kAllSeals)});
    return {};
}
SharedBuffer lie_about_the_memory() {
    int memfd = memory_file(4096, 0);
    if (::ftruncate(memfd, 64 << 20) != 0) std::abort();
    if (::fcntl(memfd, F_ADD_SEALS, kAllSeals) != 0) std::abort();
    answer_with(64 << 20, {memfd});
    return {};
}
SharedBuffer lie_about_the_count() {
    int memfd = memory_file(4096, kAllSeals);
    answer_with(4096, {memfd, memfd});
    return {};
}
SharedBuffer lie_without_a_descriptor() {
    answer_with(4096, {});
    return {};
}

TEST(SharedBufferProcess, OfAWorkerThatLiesKillsThatWorkerAndFailsThatCallAlone) {
    ProcessPool pool{{.workers = 1}};
    pool.run([] {});
    Open here;
    auto why = [&](auto&& call) {
        std::string text;
        try {
            call();
        } catch (const WorkerDied& died) {
            EXPECT_EQ(died.signal(), SIGKILL);
            text = died.what();
        }
        EXPECT_TRUE(pool.run([](const SharedBuffer& in) { return counts(in); }, counting(10)));
        return text;
    };
    const char* not_sealed = "not sealed, or of another size";
    EXPECT_SAYS(why([&] { pool.run<&lie_unsealed>(); }), not_sealed);
    EXPECT_SAYS(why([&] { pool.run<&lie_writable>(); }), not_sealed);
    EXPECT_SAYS(why([&] { pool.run<&lie_shrinkable>(); }), not_sealed);
    EXPECT_SAYS(why([&] { pool.run<&lie_about_the_size>(); }), not_sealed);
    EXPECT_SAYS(why([&] { pool.run<&lie_about_the_memory>(); }), not_sealed);
    EXPECT_SAYS(why([&] { pool.run<&lie_about_the_count>(); }), "a descriptor came with it");
    EXPECT_SAYS(why([&] { pool.run<&lie_without_a_descriptor>(); }), "descriptor is missing");
    EXPECT_EQ(Open(), here);
}

}  // namespace
