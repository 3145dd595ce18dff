// What streams stand on: waits for edges, closing under those who use it, numbers that come back.
#include <weft/detail/descriptor.hpp>
#include <weft/detail/socket_calls.hpp>

#include "net_support.hpp"

namespace weft::test {

namespace {

namespace calls = detail::calls;
using detail::Descriptor;
using detail::Side;

class DescriptorTest : public OnSockets {};
WEFT_TEST_ON_THREADS(DescriptorTest);

TEST_P(DescriptorTest, AWaitEndsByTheEdgeTheDeadlineTheCancelOrTheClose) {
    run([] {
        Pipe pipe;
        EXPECT_EQ(pipe.read(now() + 1ms), -ETIMEDOUT);
        auto reader = start([&] { return pipe.read(); });
        EXPECT_EQ(pipe.write(), 1);
        EXPECT_EQ(await(reader), 1);
        auto cancelled = start([&] { pipe.read(); });
        cancelled.cancel();
        EXPECT_THROW(await(cancelled), CancelledError);
        auto closed = start([&] { return pipe.read(); });
        pipe.in.close();
        EXPECT_EQ(await(closed), -EBADF);
        EXPECT_EQ(pipe.read(), -EBADF);
    });
}

TEST_P(DescriptorTest, AnEdgeThatNobodyWaitedForIsKept) {
    run([] {
        Pipe pipe;
        EXPECT_EQ(pipe.read(now() + 1ms), -ETIMEDOUT);  // registered from here on
        EXPECT_EQ(pipe.write(), 1);
        weft::sleep(1ms);  // polled meanwhile
        EXPECT_EQ(pipe.in.wait(Side::in, "test"), 0);
        EXPECT_EQ(pipe.read(), 1);
    });
}

TEST_P(DescriptorTest, TwoWaitsForOneSideAreRefused) {
    run([] {
        Pipe pipe;
        auto reader = start([&] { return pipe.read(); });
        EXPECT_THROW(pipe.read(), UsageError);
        pipe.write();
        EXPECT_EQ(await(reader), 1);
    });
}

// Whoever is inside keeps the number: it is not given to anybody else before that one has left.
TEST_P(DescriptorTest, ANumberIsNotUsedAnewWhileACallIsInside) {
    run([] {
        Pipe pipe;
        int number = pipe.in.fd();
        pipe.in.once([&](int fd) {
            EXPECT_EQ(fd, number);
            pipe.in.close();
            EXPECT_FALSE(pipe.in.is_open());
            int other = ::dup(0);
            EXPECT_NE(other, number);
            ::close(other);
            return 0;
        });
        // Not by the number, which another thread may have for a moment.
        EXPECT_EQ(pipe.write(), -EPIPE) << "the reader is still there";
    });
}

// A handle that is kept beyond the close does not reach who has the slot and the number now.
TEST_P(DescriptorTest, AnOldHandleDoesNotReachTheNextOne) {
    run([] {
        Pipe first;
        Pipe second;
        int number = first.in.fd();
        first.in.close();
        // Another thread may have it for a moment: UBSan, to look at a type.
        int fd = -1;
        second.in.once([&](int any) {
            while ((fd = ::fcntl(any, F_DUPFD_CLOEXEC, number)) != number) ::close(fd);
            return 0;
        });
        second.in = Descriptor(fd, "test");
        first.in.close();
        EXPECT_FALSE(first.in.is_open());
        EXPECT_EQ(first.in.fd(), -1);
        EXPECT_EQ(first.read(), -EBADF);
        EXPECT_EQ(second.write(), 1);
        EXPECT_EQ(second.read(), 1);
    });
}

// A copy of the descriptor elsewhere keeps it in the kernel's set: its events must not reach the next one.
TEST_P(DescriptorTest, EventsOfAClosedOneWithACopyReachNobody) {
    run([] {
        int copy = -1;
        int writer = -1;
        {
            Pipe first;
            EXPECT_EQ(first.read(now() + 1ms), -ETIMEDOUT);
            copy = ::dup(first.in.fd());
            writer = ::dup(first.out.fd());
        }
        Pipe second;
        auto reader = start([&] { return second.in.wait(Side::in, "test"); });
        ASSERT_EQ(::write(writer, "x", 1), 1);
        weft::sleep(2ms);
        EXPECT_FALSE(reader.done());
        second.write();
        EXPECT_EQ(await(reader), 0);
        ::close(copy);
        ::close(writer);
    });
}

TEST_P(DescriptorTest, OpenAndCloseStormsOfManyTasks) {
    run([] {
        constexpr int kTasks = 8;
        constexpr int kRounds = 2000;
        task_group([&](TaskGroup& tg) {
            for (int t = 0; t < kTasks; ++t)
                tg.create_task([t] {
                    for (int i = 0; i < kRounds; ++i) {
                        Pipe pipe;
                        auto reader = create_task([&] { return pipe.read(); });
                        if ((i + t) % 3 == 0) yield();
                        if ((i + t) % 2 == 0) {
                            ASSERT_EQ(pipe.write(), 1);
                            ASSERT_EQ(await(reader), 1);
                        } else {
                            pipe.in.close();
                            ASSERT_EQ(await(reader), -EBADF);
                        }
                    }
                });
        });
    });
}

TEST_P(DescriptorTest, ManyAtOnce) {
    run([] {
        constexpr int kPipes = 300;
        std::vector<Pipe> pipes(kPipes);
        std::vector<Task<ssize_t>> readers;
        for (Pipe& pipe : pipes) readers.push_back(start([&] { return pipe.read(); }));
        for (int i = kPipes; i > 0; --i)
            EXPECT_EQ(pipes[static_cast<std::size_t>(i - 1)].write(), 1);
        for (auto& reader : readers) EXPECT_EQ(await(reader), 1);
    });
}

// A worker that computes, and one task after another that is ready: who waits for a descriptor gets its turn.
TEST_P(DescriptorTest, BusyWorkersLookAtDescriptorsToo) {
    run([this] {
        Pipe pipe;
        std::atomic<bool> over = false;
        std::vector<Task<void>> spinners;
        for (unsigned i = 0; i < 2 * workers() + 1; ++i)
            spinners.push_back(create_task([&] {
                while (!over) yield();
            }));
        auto reader = create_task([&] {
            for (int i = 0; i < 50; ++i) EXPECT_EQ(pipe.read(), 1);
        });
        for (int i = 0; i < 50; ++i) {
            EXPECT_EQ(pipe.write(), 1);
            yield();
        }
        await(reader);
        over = true;
        gather(spinners);
    });
}

// One that computes and never waits may not keep the others from the kernel's events.
TEST_F(WithWatchdog, AWorkerThatNeverWaitsDoesNotHoldTheEventLoop) {
#ifdef WEFT_FORCE_MIGRATE
    GTEST_SKIP() << "a task is always woken onto the next worker here, also one that never waits";
#endif
    run_with({.workers = 2}, [] {
        Pipe start;
        Pipe pipe;
        std::atomic<bool> stuck = false;
        std::atomic<bool> over = false;
        auto computes = create_task([&] {
            EXPECT_EQ(start.read(), 1);
            stuck = true;
            while (!over) {
            }
        });
        auto reader = create_task([&] {
            for (int i = 0; i < 50; ++i) EXPECT_EQ(pipe.read(), 1);
        });
        EXPECT_EQ(start.write(), 1);
        while (!stuck) weft::sleep(1ms);
        for (int i = 0; i < 50; ++i) {
            EXPECT_EQ(pipe.write(), 1);
            weft::sleep(1ms);
        }
        await(reader);
        over = true;
        await(computes);
    });
}

TEST_P(DescriptorTest, WaitReadableAndWritableOfForeignDescriptors) {
    run([] {
        int fds[2];
        ASSERT_EQ(::pipe(fds), 0);
        auto one = start([&] { wait_readable(fds[0]); });
        auto two = start([&] { wait_readable(fds[0]); });
        wait_writable(fds[1]);
        EXPECT_FALSE(one.done());
        ASSERT_EQ(::write(fds[1], "x", 1), 1);
        await(one);
        await(two);
        wait_readable(fds[0]);  // it is ready still
        ::close(fds[1]);
        char bytes[2];
        ASSERT_EQ(::read(fds[0], bytes, 2), 1);
        wait_readable(fds[0]);  // the end
        auto cancelled = start([&] {
            int quiet[2];
            ASSERT_EQ(::pipe(quiet), 0);
            try {
                wait_readable(quiet[0]);
            } catch (const CancelledError&) {
                ::close(quiet[0]);
                ::close(quiet[1]);
                throw;
            }
        });
        cancelled.cancel();
        EXPECT_THROW(await(cancelled), CancelledError);
        ::close(fds[0]);
        EXPECT_EQ(errno_of([] { wait_readable(-1); }), EBADF);
    });
    EXPECT_THROW(wait_readable(0), UsageError);
}

/// What nobody can be made to write to before its reader has read: a pipe, or a socket.
struct Full {
    int in = -1;
    int out = -1;

    explicit Full(bool is_pipe) {
        int fds[2];
        int rc = is_pipe
                     ? ::pipe2(fds, O_CLOEXEC | O_NONBLOCK)
                     : ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds);
        if (rc != 0) throw std::system_error(errno, std::generic_category());
        in = fds[0];
        out = fds[1];
        while (::write(out, kPiece.data(), kPiece.size()) > 0) {
        }
    }
    ~Full() {
        close_reader();
        ::close(out);
    }
    Full(const Full&) = delete;
    Full& operator=(const Full&) = delete;
    void empty() const {
        std::string bytes(kPiece.size(), '\0');
        while (::read(in, bytes.data(), bytes.size()) > 0) {
        }
    }
    void close_reader() {
        if (in >= 0) ::close(std::exchange(in, -1));
    }
    bool takes_more() const { return ::write(out, "x", 1) == 1; }

    inline static const std::string kPiece = std::string(4096, 'x');
};

TEST_P(DescriptorTest, WaitWritableWaitsUntilTheReaderHasMadeRoom) {
    run([] {
        for (bool is_pipe : {true, false}) {
            Full full(is_pipe);
            auto writer = start([&] {
                wait_writable(full.out);
                return full.takes_more();
            });
            auto beside = start([&] { wait_writable(full.out); });
            settle();
            EXPECT_FALSE(writer.done());
            EXPECT_FALSE(full.takes_more());
            full.empty();
            EXPECT_TRUE(await(writer));
            await(beside);
            wait_writable(full.out);  // it is ready still
        }
    });
}

TEST_P(DescriptorTest, WaitWritableEndsByACancelATimeoutOrTheReadersEnd) {
    run([] {
        for (bool is_pipe : {true, false}) {
            Full full(is_pipe);
            auto cancelled = start([&] { wait_writable(full.out); });
            settle();
            cancelled.cancel("enough");
            EXPECT_EQ(cancel_message_of([&] { await(cancelled); }), "enough");
            EXPECT_THROW(timeout(1ms, [&] { wait_writable(full.out); }), TimeoutError);
            auto writer = start([&] { wait_writable(full.out); });
            settle();
            EXPECT_FALSE(writer.done());
            full.close_reader();
            await(writer);  // a write would not block: it fails
            EXPECT_EQ(::send(full.out, "x", 1, MSG_NOSIGNAL), -1);
        }
        EXPECT_EQ(errno_of([] { wait_writable(-1); }), EBADF);
    });
    EXPECT_THROW(wait_writable(1), UsageError);
}

TEST_P(DescriptorTest, AFileIsAlwaysReady) {
    run([] {
        std::FILE* file = std::tmpfile();
        wait_readable(::fileno(file));
        wait_writable(::fileno(file));
        std::fclose(file);
    });
}

}  // namespace

}  // namespace weft::test
