// SharedBuffer in one process: who may write when, what its copies share, what it gives back, and
// what an archive makes of it. On its way to others: process_buffer_test.cpp.
#include <weft/archive.hpp>
#include <weft/error.hpp>
#include <weft/shared_buffer.hpp>

#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "offload/buffer_support.hpp"
#include "process/shared_memory.hpp"

namespace {

using weft::SharedBuffer;
using weft::UsageError;
using weft::test::count_descriptors;
using weft::test::count_mappings;
using weft::test::counting;
using weft::test::counts;
using weft::test::mapping_at;
using weft::test::text_of;

// --- in one process -----------------------------------------------------------------------------

TEST(SharedBuffer, BeginsWithZerosAndIsWritable) {
    SharedBuffer buffer(10'000);
    EXPECT_EQ(buffer.size(), 10'000U);
    EXPECT_FALSE(buffer.is_sealed());
    EXPECT_TRUE(std::ranges::all_of(buffer.bytes(), [](std::byte b) { return b == std::byte{}; }));
    buffer.writable()[9'999] = std::byte{5};
    EXPECT_EQ(buffer.bytes()[9'999], std::byte{5});
}

constexpr std::size_t kHugePage = std::size_t{2} << 20;

/// How much of the mapping at that address is in huge pages.
std::size_t bytes_in_huge_pages(const void* address) {
    std::ifstream maps("/proc/self/smaps");
    bool here = false;
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t begin = 0;
        std::uintptr_t end = 0;
        std::size_t kilobytes = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
            auto wanted = reinterpret_cast<std::uintptr_t>(address);
            here = begin <= wanted && wanted < end;
        } else if (here && std::sscanf(line.c_str(), "ShmemPmdMapped: %zu", &kilobytes) == 1) {
            return kilobytes * 1024;
        }
    }
    return 0;
}

/// Whether a memory file has huge pages where one asks for them.
bool kernel_has_huge_pages_for_files() {
    constexpr int kNowhere = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    weft::rt::process::Descriptor file(::memfd_create("probe", MFD_CLOEXEC));
    if (::ftruncate(file.get(), kHugePage) != 0) return false;
    auto* room =
        static_cast<std::byte*>(::mmap(nullptr, 2 * kHugePage, PROT_NONE, kNowhere, -1, 0));
    std::byte* aligned = room + -reinterpret_cast<std::uintptr_t>(room) % kHugePage;
    ::mmap(aligned, kHugePage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file.get(), 0);
    *aligned = std::byte{1};
    constexpr int kCollapse = 25;  // MADV_COLLAPSE
    bool has = ::madvise(aligned, kHugePage, kCollapse) == 0;
    ::munmap(room, 2 * kHugePage);
    return has;
}

TEST(SharedBuffer, OfSeveralMegabytesIsInHugePages) {
    if (!kernel_has_huge_pages_for_files())
        GTEST_SKIP() << "this machine has none for memory files";
    SharedBuffer buffer(2 * kHugePage + 5);
    EXPECT_EQ(bytes_in_huge_pages(buffer.bytes().data()), 2 * kHugePage);
    EXPECT_TRUE(std::ranges::all_of(buffer.bytes(), [](std::byte b) { return b == std::byte{}; }));
}

TEST(SharedBuffer, HasAllOfItsMemoryFromTheBeginning) {
    for (unsigned long without_huge_pages : {0UL, 1UL}) {
        ASSERT_EQ(::prctl(PR_SET_THP_DISABLE, without_huge_pages, 0UL, 0UL, 0UL), 0);
        for (std::size_t size : {kHugePage / 2, kHugePage, 2 * kHugePage + 5}) {
            SharedBuffer buffer(size);
            std::vector<unsigned char> there((size + 4095) / 4096);
            // mincore() tells of the file's pages, whoever has touched them.
            ASSERT_EQ(::mincore(buffer.writable().data(), size, there.data()), 0);
            auto is_there = [](unsigned char page) { return (page & 1) != 0; };
            EXPECT_TRUE(std::ranges::all_of(there, is_there)) << size;
            if (without_huge_pages != 0) {
                EXPECT_EQ(bytes_in_huge_pages(buffer.bytes().data()), 0U);
            }
        }
    }
    ::prctl(PR_SET_THP_DISABLE, 0UL, 0UL, 0UL, 0UL);
}

TEST(SharedBuffer, OfNoBytesHasNoMemoryAndNothingToSeal) {
    int before = count_descriptors();
    for (SharedBuffer buffer : {SharedBuffer(), SharedBuffer(0), SharedBuffer::copy_of({})}) {
        EXPECT_TRUE(buffer.empty());
        EXPECT_TRUE(buffer.bytes().empty());
        EXPECT_TRUE(buffer.as<double>().empty());
        buffer.seal();
        EXPECT_FALSE(buffer.is_sealed());
        EXPECT_TRUE(buffer.writable().empty());
    }
    EXPECT_EQ(count_descriptors(), before);
}

TEST(SharedBuffer, CopiesShareTheMemoryAndTheLastOneGivesItBack) {
    int descriptors = count_descriptors();
    int mappings = count_mappings();
    {
        SharedBuffer copy;
        {
            SharedBuffer buffer = counting(1000);
            copy = buffer;
            copy.writable_as<int>()[0] = 7;
            EXPECT_EQ(buffer.as<int>()[0], 7);
        }
        EXPECT_EQ(copy.as<int>()[0], 7);
        EXPECT_EQ(count_descriptors(), descriptors + 1);
        EXPECT_EQ(count_mappings(), mappings + 1);
        SharedBuffer moved = std::move(copy);
        EXPECT_TRUE(copy.empty());  // NOLINT(bugprone-use-after-move): as documented
        EXPECT_EQ(moved.as<int>()[999], 999);
    }
    EXPECT_EQ(count_descriptors(), descriptors);
    EXPECT_EQ(count_mappings(), mappings);
}

TEST(SharedBuffer, OnceSealedKeepsItsAddressAndBytesAndSaysWhyItCannotBeWritten) {
    SharedBuffer buffer = counting(1000);
    SharedBuffer copy = buffer;
    std::span<const int> before = buffer.as<int>();
    buffer.seal();
    buffer.seal();
    EXPECT_TRUE(copy.is_sealed());
    EXPECT_EQ(buffer.as<int>().data(), before.data());
    EXPECT_TRUE(counts(buffer));
    EXPECT_EQ(mapping_at(before.data()).flags, "r--p");
    EXPECT_SAYS(text_of([&] { copy.writable(); }), "it is sealed");
    EXPECT_THROW(copy.writable_as<int>(), UsageError);
}

TEST(SharedBufferDeathTest, WrittenThroughAnOldSpanAfterItWasSealedIsASegmentationFault) {
    SharedBuffer buffer = counting(1000);
    std::span<int> old = buffer.writable_as<int>();
    buffer.seal();
    ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
    EXPECT_EXIT(
        {
            std::signal(SIGSEGV, SIG_DFL);
            old[0] = 1;
        },
        testing::KilledBySignal(SIGSEGV), "");
}

TEST(SharedBuffer, OfAnOddSizeHasNoElements) {
    SharedBuffer buffer(10);
    EXPECT_SAYS(text_of([&] { buffer.as<int>(); }), "10 bytes are no whole number");
    EXPECT_THROW(buffer.writable_as<double>(), UsageError);
    EXPECT_EQ(buffer.as<std::uint16_t>().size(), 5U);
}

struct Pixel {
    float red, green, blue;
};
static_assert(weft::SharedElement<Pixel> && weft::SharedElement<std::byte>);
static_assert(!weft::SharedElement<int*> && !weft::SharedElement<bool> &&
              !weft::SharedElement<std::string> && !weft::SharedElement<const int>);
static_assert(weft::Serializable<SharedBuffer>);

TEST(SharedBuffer, ThatCannotBeHadIsAnErrorThatNamesItsSizeAndLeavesNothing) {
    int descriptors = count_descriptors();
    int mappings = count_mappings();
    for (std::size_t size :
         {std::size_t{1} << 44, std::size_t{1} << 60, std::numeric_limits<std::size_t>::max()}) {
        std::string text = text_of([&] { SharedBuffer buffer(size); });
        EXPECT_SAYS(text, std::to_string(size) + " bytes: Cannot allocate memory");
    }
    rlimit before{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit none = before;
    none.rlim_cur = 0;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &none), 0);
    std::string text = text_of([] { SharedBuffer buffer(4096); });
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_SAYS(text, "4096 bytes: Too many open files");
    EXPECT_EQ(count_descriptors(), descriptors);
    EXPECT_EQ(count_mappings(), mappings);
}

TEST(SharedBuffer, ThatAForkedChildCanWriteIsNotSealedUntilTheChildHasEnded) {
    SharedBuffer buffer(4096);
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    pid_t child = ::fork();
    if (child == 0) {
        char byte = 0;
        ::close(ends[1]);
        ::_exit(::read(ends[0], &byte, 1) == 0 ? 0 : 1);
    }
    ::close(ends[0]);
    EXPECT_SAYS(text_of([&] { buffer.seal(); }), "cannot be sealed, while another process");
    EXPECT_FALSE(buffer.is_sealed());
    EXPECT_THROW(buffer.writable(), UsageError);
    ::close(ends[1]);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    buffer.seal();
    EXPECT_TRUE(buffer.is_sealed());
}

TEST(SharedBuffer, IsSealedOnceByThreadsThatSendItAtTheSameTime) {
    for (int round = 0; round < 50; ++round) {
        SharedBuffer buffer = counting(5000);
        std::vector<std::thread> threads;
        for (int i = 0; i < 4; ++i) {
            threads.emplace_back([copy = buffer] {
                weft::OutputArchive out;
                out.write(copy);
                EXPECT_TRUE(copy.is_sealed());
                EXPECT_TRUE(counts(copy));
            });
        }
        for (std::thread& thread : threads) thread.join();
    }
}

// --- the archive --------------------------------------------------------------------------------

TEST(SharedBufferArchive, ANumberWithoutAMemoryAndAMemoryWithoutANumberAreArchiveErrors) {
    weft::OutputArchive out;
    out.write(counting(10));
    {
        weft::InputArchive in(out.bytes());
        EXPECT_SAYS(text_of([&] { in.read<SharedBuffer>(); }), "that did not come with it");
    }
    auto list = out.release_memories();
    ASSERT_EQ(list->count, 1U);
    int before = count_descriptors();
    {
        weft::detail::ArrivedFiles files;
        files.add(::fcntl(list->items[0]->descriptor(), F_DUPFD_CLOEXEC, 0), 40);
        weft::InputArchive in(out.bytes().first(0), &files);
        EXPECT_SAYS(text_of([&] { in.finish(); }), "no value refers to");
        weft::InputArchive again(out.bytes(), &files);
        EXPECT_TRUE(counts(again.read<SharedBuffer>()));
        again.finish();
    }
    EXPECT_EQ(count_descriptors(), before);
}

}  // namespace
