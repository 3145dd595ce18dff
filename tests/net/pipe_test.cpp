// Streams over pipes and terminals.
#include <csignal>
#include <stdexcept>

#include <fcntl.h>
#include <pty.h>

#include "net_support.hpp"

namespace weft::test {

namespace {

class PipeTest : public OnSockets {};
WEFT_TEST_ON_THREADS(PipeTest);

struct Ends {
    PipeStream reader;
    PipeStream writer;

    Ends() {
        int fds[2];
        if (::pipe2(fds, O_CLOEXEC) != 0)
            throw std::system_error(errno, std::generic_category(), "pipe2");
        reader = PipeStream::from_fd(fds[0]);
        writer = PipeStream::from_fd(fds[1]);
    }
};

TEST_P(PipeTest, WhatIsWrittenIsReadToItsEnd) {
    run([] {
        Ends pipe;
        std::string all(1'000'003, 'x');
        auto reader = create_task([&] { return pipe.reader.read(); });
        pipe.writer.write(all);
        pipe.writer.write_eof();
        EXPECT_EQ(await(reader), all);
        EXPECT_TRUE(pipe.reader.at_eof());
        EXPECT_EQ(errno_of([&] { pipe.writer.write("more"); }), EBADF);
    });
}

TEST_P(PipeTest, AReaderWaitsForEachPiece) {
    run([] {
        Ends pipe;
        for (int i = 0; i < 3; ++i) {
            auto reader = create_task([&] { return pipe.reader.read(100); });
            settle();
            EXPECT_FALSE(reader.done());
            pipe.writer.write("piece");
            EXPECT_EQ(await(reader), "piece");
        }
    });
}

TEST_P(PipeTest, AWriteWithoutAReaderIsAnErrorAndNoSignal) {
    run([] {
        Ends pipe;
        auto writer = create_task([&] {
            std::string much(1'000'000, 'x');
            pipe.writer.write(much);
        });
        settle();
        EXPECT_FALSE(writer.done());
        pipe.reader.close();
        EXPECT_EQ(errno_of([&] { await(writer); }), EPIPE);
    });
}

TEST_P(PipeTest, ASequenceOfBuffersIsFilledFromItsFirstOne) {
    run([] {
        Ends pipe;
        pipe.writer.write("abcdef");
        char first[2];
        char second[4];
        std::array<std::span<char>, 2> both{first, second};
        EXPECT_EQ(pipe.reader.read_some(both), 2U);
        EXPECT_EQ(std::string(first, 2), "ab");
    });
}

TEST_P(PipeTest, ATerminalGivesAllLinesThatCameAtOnce) {
    run([] {
        int master = -1;
        int slave = -1;
        ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
        PipeStream person = PipeStream::from_fd(master);
        PipeStream terminal = PipeStream::from_fd(slave);
        auto reader = create_task([&] {
            std::string lines;
            for (int i = 0; i < 3; ++i) lines += terminal.read(100);
            return lines;
        });
        settle();
        person.write("one\ntwo\nthree\n");
        EXPECT_EQ(await(reader), "one\ntwo\nthree\n");
    });
}

TEST_P(PipeTest, ARegularFileIsRefusedAndClosed) {
    run([] {
        int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        EXPECT_THROW(PipeStream::from_fd(fd), std::invalid_argument);
        EXPECT_EQ(errno_of([] { PipeStream::from_fd(-1); }), EBADF);
    });
}

// --- the standard streams -----------------------------------------------------------------------------------------

/// Puts another descriptor in the place of a standard one while it lives.
class InPlaceOf {
public:
    InPlaceOf(int number, int fd) : number_(number), saved_(::fcntl(number, F_DUPFD_CLOEXEC, 3)) {
        ::dup2(fd, number);
    }
    ~InPlaceOf() {
        ::dup2(saved_, number_);
        ::close(saved_);
    }
    InPlaceOf(const InPlaceOf&) = delete;
    InPlaceOf& operator=(const InPlaceOf&) = delete;

private:
    int number_;
    int saved_;
};

bool blocks(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) == 0; }

TEST_P(PipeTest, TheStandardStreamsAreOpenedWithoutAChangeForOthers) {
    run([] {
        int fds[2];
        ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
        {
            InPlaceOf input(0, fds[0]);
            InPlaceOf output(1, fds[1]);
            PipeStream in = open_stdin();
            PipeStream out = open_stdout();
            auto reader = create_task([&] { return in.readline(); });
            settle();
            EXPECT_FALSE(reader.done());
            out.write("line\n");
            EXPECT_EQ(await(reader), "line\n");
        }
        EXPECT_TRUE(blocks(fds[0]));
        EXPECT_TRUE(blocks(fds[1]));
        ::close(fds[0]);
        ::close(fds[1]);
    });
}

TEST_P(PipeTest, TheErrorStreamIsTheThirdAndStaysOpenForOthers) {
    run([] {
        int fds[2];
        ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
        PipeStream reader = PipeStream::from_fd(fds[0]);
        {
            InPlaceOf errors(2, fds[1]);
            PipeStream err = open_stderr();
            EXPECT_GT(err.fd(), 2);
            err.write("an error\n");
            err.close();
            EXPECT_EQ(::write(2, "another\n", 8), 8);
        }
        EXPECT_TRUE(blocks(fds[1]));
        ::close(fds[1]);
        EXPECT_EQ(reader.read(), "an error\nanother\n");
    });
}

TEST_P(PipeTest, AStandardStreamThatCannotBeOpenedAnewIsCopied) {
    run([] {
        int fds[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        {
            InPlaceOf input(0, fds[0]);
            PipeStream in = open_stdin();
            UnixStream peer = UnixStream::from_fd(fds[1]);
            peer.write("line\n");
            EXPECT_EQ(in.readline(), "line\n");
            in.close();
            EXPECT_NE(::fcntl(0, F_GETFD), -1);
        }
        ::close(fds[0]);
    });
}

TEST_P(PipeTest, AStandardStreamThatIsAFileIsRefused) {
    run([] {
        int fd = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        {
            InPlaceOf input(0, fd);
            EXPECT_THROW(open_stdin(), std::invalid_argument);
        }
        ::close(fd);
    });
}

}  // namespace

}  // namespace weft::test
