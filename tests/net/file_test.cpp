// Files: bytes and places, what the kernel refuses, cancels, and that a descriptor is closed once.
#include <atomic>
#include <csignal>
#include <filesystem>
#include <semaphore>
#include <thread>

#include <fcntl.h>
#include <sys/stat.h>

#include "net_support.hpp"

namespace weft::test {

namespace {

namespace fs = std::filesystem;

/// A directory that is gone, with all in it, at the end.
class Scratch {
public:
    Scratch() {
        std::string name = (fs::temp_directory_path() / "weft-file-XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr)
            throw std::system_error(errno, std::generic_category(), "mkdtemp");
        path_ = name;
    }
    ~Scratch() {
        std::error_code ignored;
        fs::remove_all(path_, ignored);
    }
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    std::string operator/(const char* name) const { return (path_ / name).string(); }
    /// What lies in it.
    std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (const auto& entry : fs::directory_iterator(path_))
            names.push_back(entry.path().filename().string());
        std::sort(names.begin(), names.end());
        return names;
    }

private:
    fs::path path_;
};

constexpr FileOptions kNew{.read = true, .write = true, .create = true, .truncate = true};

/// All threads of to_thread's pool, and more calls that queue for one, until it is destroyed.
class AllThreads {
public:
    AllThreads() {
        for (int i = 0; i < kMoreThanThreads; ++i)
            blockers_.push_back(create_task([this] { to_thread([this] { go_.acquire(); }); }));
        settle();
    }
    ~AllThreads() {
        go_.release(kMoreThanThreads);
        gather(blockers_);
    }
    AllThreads(const AllThreads&) = delete;
    AllThreads& operator=(const AllThreads&) = delete;

private:
    static constexpr int kMoreThanThreads = 40;
    std::counting_semaphore<> go_{0};
    std::vector<Task<void>> blockers_;
};

class FileTest : public OnSockets {
protected:
    Scratch scratch;
};
WEFT_TEST_ON_THREADS(FileTest);

// --- bytes --------------------------------------------------------------------------------------------------------

TEST_P(FileTest, WhatIsWrittenIsRead) {
    run([&] {
        File file = open_file(scratch / "f", kNew);
        EXPECT_EQ(file.path(), scratch / "f");
        EXPECT_GE(file.fileno(), 0);
        EXPECT_EQ(file.size(), 0U);
        file.write("hello ");
        file.write("world");
        EXPECT_EQ(file.size(), 11U);
        EXPECT_EQ(file.read(5), "") << "after the last write is the end";
        EXPECT_EQ(file.read_at(6, 100), "world");
        EXPECT_EQ(file.read_at(11, 100), "");
        EXPECT_EQ(file.read_at(1000, 100), "");
        EXPECT_EQ(file.read_at(3, std::size_t{0}), "");
        file.write_at(0, "J");
        file.seek(0);
        EXPECT_EQ(file.read(3), "Jel");
        EXPECT_EQ(file.read(), "lo world");
        EXPECT_EQ(file.read(), "");
        file.truncate(4);
        EXPECT_EQ(file.read_at(0, 100), "Jell");
        file.truncate(6);
        EXPECT_EQ(file.read_at(0, 100), std::string("Jell\0\0", 6));
        file.sync();
        file.close();
        EXPECT_EQ(read_file(scratch / "f"), std::string("Jell\0\0", 6));
    });
}

TEST_P(FileTest, SpansOfBytes) {
    run([&] {
        File file = open_file(scratch / "f", kNew);
        std::vector<std::byte> bytes{std::byte{1}, std::byte{0}, std::byte{255}};
        file.write_at(1, std::span<const std::byte>(bytes));
        file.seek(4);
        file.write(std::span<const std::byte>(bytes));
        std::vector<std::byte> got(10, std::byte{7});
        EXPECT_EQ(file.read_at(0, std::span(got)), 7U);
        EXPECT_EQ(got, (std::vector<std::byte>{std::byte{0}, bytes[0], bytes[1], bytes[2], bytes[0],
                                               bytes[1], bytes[2], std::byte{7}, std::byte{7},
                                               std::byte{7}}));
        write_file(scratch / "g", std::span<const std::byte>(bytes));
        EXPECT_EQ(read_file(scratch / "g"), std::string("\1\0\377", 3));
    });
}

TEST_P(FileTest, AnEmptyFileReadsAsNothing) {
    run([&] {
        write_file(scratch / "f", "");
        EXPECT_EQ(read_file(scratch / "f"), "");
        File file = open_file(scratch / "f");
        EXPECT_EQ(file.size(), 0U);
        EXPECT_EQ(file.read(), "");
        EXPECT_EQ(file.read_at(0, 1), "");
    });
}

TEST_P(FileTest, OffsetsBeyondFourGigabytesOfASparseFile) {
    run([&] {
        constexpr std::uint64_t kFar = (std::uint64_t{5} << 30) + 3;
        File file = open_file(scratch / "f", kNew);
        file.write_at(kFar, "far");
        file.write_at(3, "near");
        EXPECT_EQ(file.size(), kFar + 3);
        EXPECT_EQ(file.read_at(kFar, 10), "far");
        EXPECT_EQ(file.read_at(kFar - 2, 4), std::string("\0\0fa", 4));
        EXPECT_EQ(file.read_at(kFar - (std::uint64_t{1} << 32), 3), std::string(3, '\0'));
        file.seek(kFar + 1);
        EXPECT_EQ(file.read(), "ar");
        EXPECT_EQ(errno_of([&] { file.read_at(~std::uint64_t{0}, 1); }), EINVAL);
    });
}

TEST_P(FileTest, SixtyFourMegabytes) {
    run([&] {
        std::string all = pattern(std::size_t{64} << 20);
        write_file(scratch / "f", all);
        EXPECT_TRUE(read_file(scratch / "f") == all);
        File file = open_file(scratch / "g", kNew);
        file.write_at(5, all);
        EXPECT_EQ(file.size(), all.size() + 5);
        EXPECT_TRUE(file.read_at(5, all.size() + 1) == all);
        file.seek(5);
        EXPECT_TRUE(file.read(all.size()) == all);
    });
}

TEST_P(FileTest, ManyTasksWriteAndReadAtTheirPlaces) {
    run([&] {
        constexpr std::size_t kTasks = 32;
        constexpr std::size_t kRounds = 8;
        constexpr std::size_t kPiece = 20'011;
        File file = open_file(scratch / "f", kNew);
        auto each = [&](auto f) {
            task_group([&](TaskGroup& tg) {
                for (std::size_t i = 0; i < kTasks; ++i) tg.create_task([&, i] { f(i); });
            });
        };
        each([&](std::size_t task) {
            for (std::size_t i = 0; i < kRounds; ++i) {
                std::size_t at = (i * kTasks + task) * kPiece;
                file.write_at(at, pattern(kPiece, at));
                ASSERT_TRUE(file.read_at(at, kPiece) == pattern(kPiece, at));
            }
        });
        EXPECT_TRUE(read_file(scratch / "f") == pattern(kTasks * kRounds * kPiece));
        std::atomic<std::size_t> read_bytes = 0;
        file.seek(0);
        each([&](std::size_t) {
            for (std::string part; !(part = file.read(kPiece)).empty();) read_bytes += part.size();
        });
        EXPECT_EQ(read_bytes, kTasks * kRounds * kPiece) << "each byte to exactly one of them";
    });
}

// Long enough for several pieces.
TEST_P(FileTest, WritesAndAppendsOfManyTasksStayWhole) {
    run([&] {
        constexpr std::size_t kPiece = 2'500'000;
        constexpr std::size_t kTasks = 5;
        for (FileOptions options : {kNew, FileOptions{.append = true, .create = true}}) {
            std::string path = scratch / (options.append ? "appended" : "written");
            File file = open_file(path, options);
            task_group([&](TaskGroup& tg) {
                for (std::size_t i = 0; i < kTasks; ++i)
                    tg.create_task([&, i] { file.write(std::string(kPiece, char('A' + i))); });
            });
            std::string got = read_file(path);
            ASSERT_EQ(got.size(), kPiece * kTasks);
            std::string order;
            for (std::size_t i = 0; i < got.size(); i += kPiece) {
                order += got[i];
                ASSERT_EQ(std::min(got.find_first_not_of(got[i], i), got.size()), i + kPiece);
            }
            std::sort(order.begin(), order.end());
            EXPECT_EQ(order, "ABCDE");
        }
    });
}

// --- opening ------------------------------------------------------------------------------------------------------

TEST_P(FileTest, OptionsMeanWhatTheySay) {
    run([&] {
        std::string path = scratch / "f";
        EXPECT_EQ(errno_of([&] { open_file(path); }), ENOENT);
        EXPECT_EQ(errno_of([&] { open_file(path, {.write = true}); }), ENOENT);
        mode_t before = ::umask(027);
        open_file(path, {.write = true, .exclusive = true, .permissions = 0666}).write("one");
        ::umask(before);
        EXPECT_EQ(fs::status(path).permissions(), fs::perms(0640));
        EXPECT_EQ(errno_of([&] { open_file(path, {.write = true, .exclusive = true}); }), EEXIST);
        open_file(path, {.write = true, .create = true}).write("O");
        EXPECT_EQ(read_file(path), "One");
        File appended = open_file(path, {.read = true, .append = true});
        appended.write(" two");
        open_file(path, {.append = true}).write(" three");
        appended.write(" four");
        EXPECT_EQ(appended.read_at(0, 100), "One two three four");
        EXPECT_THROW(appended.write_at(0, "x"), UsageError);
        EXPECT_EQ(errno_of([&] { open_file(path).write("x"); }), EBADF) << "opened to read";
        EXPECT_EQ(errno_of([&] { open_file(path, {.write = true}).read(1); }), EBADF);
        open_file(path, {.write = true, .truncate = true});
        EXPECT_EQ(read_file(path), "");
        for (FileOptions wrong :
             {FileOptions{}, FileOptions{.create = true}, FileOptions{.read = true, .create = true},
              FileOptions{.read = true, .truncate = true},
              FileOptions{.write = true, .append = true, .truncate = true}})
            EXPECT_THROW(open_file(path, wrong), std::invalid_argument);
        EXPECT_THROW(open_file(path + '\0' + "x"), std::invalid_argument);
        EXPECT_THROW(read_file(path + '\0' + "x"), std::invalid_argument);
        EXPECT_THROW(write_file(path + '\0' + "x", ""), std::invalid_argument);
    });
}

TEST_P(FileTest, OutsideOfATaskNothingWorksButClose) {
    File file;
    run([&] { file = open_file(scratch / "f", kNew); });
    EXPECT_THROW(open_file(scratch / "f"), UsageError);
    EXPECT_THROW(read_file(scratch / "f"), UsageError);
    EXPECT_THROW(write_file(scratch / "f", ""), UsageError);
    EXPECT_THROW(file.read(1), UsageError);
    run([&] { file.write("another runtime's"); });
    file.close();
    EXPECT_TRUE(file.is_closed());
    File never;
    EXPECT_TRUE(never.is_closed());
    EXPECT_EQ(never.fileno(), -1);
    EXPECT_EQ(never.path(), "");
    never.close();
}

// --- whole files --------------------------------------------------------------------------------------------------

// A key that is replaced must not lie open to all while it is written.
TEST_P(FileTest, WhatReplacesASecretIsSecretFromItsFirstByte) {
    run([&] {
        std::string path = scratch / "key";
        write_file(path, "old", {.permissions = 0600});
        std::string large(16U << 20, 'k');
        std::atomic<int> seen{0};
        std::atomic<bool> over{false};
        std::thread looks([&] {
            while (!over.load())
                for (const std::string& name : scratch.names()) {
                    struct stat status;
                    if (name == "key" || ::stat((scratch / name.c_str()).c_str(), &status) != 0)
                        continue;
                    EXPECT_EQ(status.st_mode & 0077U, 0U) << name;
                    ++seen;
                }
        });
        for (int i = 0; i < 100 && seen.load() < 3; ++i) write_file(path, large);
        over.store(true);
        looks.join();
        EXPECT_GT(seen.load(), 0);
    });
}

TEST_P(FileTest, WriteFileReplacesInOneStepAndKeepsPermissionsAndLinks) {
    run([&] {
        std::string path = scratch / "f";
        write_file(path, "old", {.permissions = 0600});
        EXPECT_EQ(fs::status(path).permissions(), fs::perms(0600));
        File held = open_file(path);
        fs::create_symlink("f", scratch / "link");
        write_file(scratch / "link", "new", {.sync = true});
        EXPECT_TRUE(fs::is_symlink(scratch / "link"));
        EXPECT_EQ(read_file(path), "new");
        EXPECT_EQ(fs::status(path).permissions(), fs::perms(0600));
        EXPECT_EQ(held.read(), "old") << "who has it open sees all of the old bytes";
        fs::create_symlink("nowhere", scratch / "dangling");
        EXPECT_EQ(errno_of([&] { write_file(scratch / "dangling", "x"); }), ENOENT);
        EXPECT_EQ(scratch.names(), (std::vector<std::string>{"dangling", "f", "link"}));
    });
}

// Nobody ever finds a mixture, though two write it all the time.
TEST_P(FileTest, ReadersFindAWholeFileWhileItIsReplaced) {
    run([&] {
        std::string path = scratch / "f";
        write_file(path, std::string(300'000, 'a'));
        std::atomic<int> writers = 2;
        task_group([&](TaskGroup& tg) {
            for (char c : {'b', 'c'})
                tg.create_task([&, c] {
                    for (int i = 0; i < 30; ++i)
                        write_file(path, std::string(300'000 + static_cast<std::size_t>(i), c));
                    --writers;
                });
            while (writers > 0) {
                std::string got = read_file(path);
                ASSERT_GE(got.size(), 300'000U);
                ASSERT_EQ(got.find_first_not_of(got[0]), std::string::npos);
            }
        });
        EXPECT_EQ(scratch.names(), std::vector<std::string>{"f"});
    });
}

TEST_P(FileTest, ReadFileNeedsNoSizeBefore) {
    run([&] {
        EXPECT_EQ(read_file("/dev/null"), "");
        std::string status = read_file("/proc/self/status");
        EXPECT_NE(status.find("\nPid:\t" + std::to_string(::getpid()) + "\n"), std::string::npos);
        write_file("/dev/null", "is written in place, and still a device");
        EXPECT_TRUE(fs::is_character_file("/dev/null"));
    });
}

// --- errors -------------------------------------------------------------------------------------------------------

TEST_P(FileTest, ErrorsNameTheOperationAndThePath) {
    run([&] {
        std::string missing = scratch / "missing";
        auto text = [](auto&& f) { return what_of<std::system_error>(f); };
        EXPECT_EQ(text([&] { open_file(missing); }),
                  "weft::open_file: " + missing + ": No such file or directory");
        EXPECT_EQ(text([&] { read_file(missing); }),
                  "weft::read_file: " + missing + ": No such file or directory");
        EXPECT_EQ(errno_of([&] { write_file(missing + "/x", ""); }), ENOENT);
        EXPECT_EQ(errno_of([&] { open_file(scratch / "."); }), EISDIR);
        EXPECT_EQ(errno_of([&] { read_file(scratch / "."); }), EISDIR);
        EXPECT_EQ(errno_of([&] { write_file(scratch / ".", ""); }), EISDIR);
        File full = open_file("/dev/full", {.write = true});
        EXPECT_EQ(text([&] { full.write("x"); }),
                  "weft::File::write: /dev/full: No space left on device");
        EXPECT_EQ(errno_of([&] { full.write_at(0, "x"); }), ENOSPC);
        EXPECT_EQ(errno_of([&] { write_file("/dev/full", "x"); }), ENOSPC);
    });
}

TEST_P(FileTest, FifosAndSocketsAreForPipeStream) {
    run([&] {
        std::string path = scratch / "fifo";
        ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
        EXPECT_NE(what_of<std::invalid_argument>([&] { open_file(path); }).find("PipeStream"),
                  std::string::npos);
        EXPECT_THROW(read_file(path), std::invalid_argument);
        EXPECT_THROW(write_file(path, "x"), std::invalid_argument);
        EXPECT_EQ(errno_of([&] { open_file(path, {.write = true}); }), ENXIO) << "no reader";
    });
}

TEST_P(FileTest, AtTheLimitOfItsSizeIsEfbigAndNoSignal) {
    run([&] {
        File file = open_file(scratch / "f", kNew);
        Limit limit(RLIMIT_FSIZE, 100'000);
        EXPECT_EQ(errno_of([&] { file.write_at(0, std::string(100'001, 'x')); }), EFBIG);
        EXPECT_EQ(file.size(), 100'000U) << "what there was room for";
        EXPECT_EQ(errno_of([&] { file.truncate(100'001); }), EFBIG);
        EXPECT_EQ(errno_of([&] { write_file(scratch / "g", std::string(100'001, 'x')); }), EFBIG);
        EXPECT_EQ(scratch.names(), std::vector<std::string>{"f"});
    });
}

TEST_P(FileTest, WithoutDescriptorsOpeningIsEmfile) {
    run([&] {
        write_file(scratch / "f", "bytes");
        std::string path = scratch / "f";
        int error = 0;
        int whole = 0;
        {
            NoMoreDescriptors none;
            error = errno_of([&] { open_file(path); });
            whole = errno_of([&] { read_file(path); });
        }
        EXPECT_EQ(error, EMFILE);
        EXPECT_EQ(whole, EMFILE);
        EXPECT_EQ(read_file(path), "bytes");
    });
}

// --- closing ------------------------------------------------------------------------------------------------------

// Who closes does not wait for a thread where all of them may be waiting for him.
TEST_P(FileTest, CloseWaitsForNoThreadWhereAllAreTaken) {
    run([&] {
        File closed = open_file(scratch / "f", kNew);
        auto destroyed = std::make_unique<File>(open_file(scratch / "g", kNew));
        int fds[] = {closed.fileno(), destroyed->fileno()};
        AllThreads taken;
        closed.close();
        destroyed.reset();
        for (int fd : fds) EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
    });
}

TEST_P(FileTest, AfterCloseEveryCallIsAUsageError) {
    run([&] {
        File file = open_file(scratch / "f", kNew);
        int fd = file.fileno();
        file.close();
        EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
        // Closed once: the number is another's now, and stays his.
        int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
        int other = ::dup2(null, fd);
        if (null != other) ::close(null);
        file.close();
        EXPECT_TRUE(file.is_closed());
        EXPECT_EQ(file.fileno(), -1);
        EXPECT_EQ(what_of<UsageError>([&] { file.read_at(0, 1); }),
                  "weft::File::read_at: the file is closed: " + (scratch / "f"));
        EXPECT_THROW(file.read(1), UsageError);
        EXPECT_THROW(file.read(), UsageError);
        EXPECT_THROW(file.write_at(0, "x"), UsageError);
        EXPECT_THROW(file.write("x"), UsageError);
        EXPECT_THROW(file.seek(0), UsageError);
        EXPECT_THROW(file.size(), UsageError);
        EXPECT_THROW(file.truncate(0), UsageError);
        EXPECT_THROW(file.sync(), UsageError);
        {
            File moved = std::move(file);
        }
        EXPECT_THROW(file.size(), UsageError);
        EXPECT_NE(::fcntl(other, F_GETFD), -1);
        ::close(other);
        EXPECT_EQ(errno_of([&] { open_file(scratch / "none"); }), ENOENT);
    });
}

TEST_P(FileTest, ClosedWhileInUseCallsInProgressGoOn) {
    run([&] {
        for (int round = 0; round < 50; ++round) {
            File file = open_file(scratch / "f", kNew);
            constexpr std::size_t kPiece = 100'000;
            constexpr std::size_t kTasks = 6;
            std::atomic<std::size_t> written = 0;
            std::atomic<std::size_t> refused = 0;
            task_group([&](TaskGroup& tg) {
                for (std::size_t i = 0; i < kTasks; ++i)
                    tg.create_task([&, i] {
                        try {
                            for (;;) {
                                file.write_at(i * kPiece, pattern(kPiece, i * kPiece));
                                ++written;
                            }
                        } catch (const UsageError&) {
                            ++refused;
                        }
                    });
                yield_until([&] { return written > static_cast<std::size_t>(round % 10); });
                tg.create_task([&] { file.close(); });
                file.close();
            });
            EXPECT_EQ(refused, kTasks);
            EXPECT_EQ(file.fileno(), -1);
        }
    });
}

// --- cancels ------------------------------------------------------------------------------------------------------

TEST_P(FileTest, CancelledBeforeItsTurnOnAThreadItHasNotHappened) {
    run([&] {
        File file = open_file(scratch / "f", kNew);
        std::optional<AllThreads> taken(std::in_place);
        auto write = start([&] { file.write_at(0, "never"); });
        auto whole = start([&] { write_file(scratch / "g", "never"); });
        write.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(write); }), "enough");
        whole.cancel();
        EXPECT_THROW(await(whole), CancelledError);
        EXPECT_THROW(timeout(1ms, [&] { file.size(); }), TimeoutError);
        taken.reset();
        EXPECT_EQ(file.size(), 0U);
        EXPECT_EQ(scratch.names(), std::vector<std::string>{"f"});
    });
}

TEST_P(FileTest, CancelledInTheKernelItIsWaitedForAndNothingStaysOpen) {
    run([&] {
        std::string path = scratch / "f";
        write_file(path, "leased");
        Lease lease(path);
        if (lease.error() != 0)
            GTEST_SKIP() << "this file system has no leases: " << std::strerror(lease.error());
        auto opener = create_task([&] { open_file(path, {.write = true}); });
        yield_until([&] { return lease.is_waited_for(); });
        opener.cancel("enough");
        settle();
        EXPECT_FALSE(opener.done());
        lease.give_back();
        EXPECT_EQ(cancel_message_of([&] { await(opener); }), "enough");
    });
}

// Under AddressSanitizer a thread that used the memory afterwards would be found.
TEST_P(FileTest, ACancelledCallUsesNoMemoryAfterItHasReturned) {
    run([&] {
        File file = open_file(scratch / "f", kNew);
        file.truncate(std::uint64_t{8} << 20);
        // Until enough of them were met in the middle.
        int cancelled = 0;
        for (int round = 0; cancelled < 20; ++round) {
            auto task = start([&, round] {
                std::string bytes = pattern(std::size_t{8} << 20);
                if (round % 2 == 0)
                    file.write_at(0, bytes);
                else
                    file.read_at(0, std::as_writable_bytes(std::span(bytes)));
            });
            for (int i = 0; i < round % 16; ++i) yield();
            task.cancel();
            try {
                await(task);
            } catch (const CancelledError&) {
                ++cancelled;
            }
        }
        EXPECT_EQ(file.size(), std::uint64_t{8} << 20);
    });
}

TEST_P(FileTest, ACancelledWriteFileLeavesTheOldOrTheNewAndNothingBesideIt) {
    run([&] {
        std::string path = scratch / "f";
        std::string old_bytes = "old";
        std::string new_bytes = pattern(std::size_t{4} << 20);
        for (int round = 0; round < 40; ++round) {
            write_file(path, old_bytes);
            auto task = start([&] { write_file(path, new_bytes); });
            for (int i = 0; i < round * 3; ++i) yield();
            task.cancel();
            bool cancelled = false;
            try {
                await(task);
            } catch (const CancelledError&) {
                cancelled = true;
            }
            std::string got = read_file(path);
            EXPECT_TRUE(got == new_bytes || (cancelled && got == old_bytes));
            EXPECT_EQ(scratch.names(), std::vector<std::string>{"f"});
        }
    });
}

}  // namespace

}  // namespace weft::test
