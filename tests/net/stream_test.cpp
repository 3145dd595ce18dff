// Streams: reading by count, line and separator, writing against a slow peer, both ends at once, ends and errors.
#include <cstring>
#include <numeric>

#include "net_support.hpp"

namespace weft::test {

namespace {

class StreamTest : public OnSockets {};
WEFT_TEST_ON_THREADS(StreamTest);

std::string pattern(std::size_t n) {
    std::string bytes(n, '\0');
    for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<char>('a' + i % 23);
    return bytes;
}

// --- reading ------------------------------------------------------------------------------------------------------

TEST_P(StreamTest, ReadGivesWhatThereIsAndNothingAtTheEnd) {
    run([] {
        Pair pair;
        pair.a.write("hello");
        EXPECT_EQ(pair.b.read(100), "hello");
        pair.a.write("world");
        EXPECT_EQ(pair.b.read(2), "wo");
        EXPECT_EQ(pair.b.read(0), "");
        EXPECT_FALSE(pair.b.at_eof());
        pair.a.close();
        EXPECT_EQ(pair.b.read(100), "rld");
        EXPECT_EQ(pair.b.read(100), "");
        EXPECT_TRUE(pair.b.at_eof());
        EXPECT_EQ(pair.b.read(100), "");
    });
}

// Bytes that a read has left, though it had room for them, must not wait for an edge that has come already.
TEST_P(StreamTest, AReadThatEndsAtTheMarkOfUrgentDataHasNotReadAll) {
    run([] {
        Queue<std::string> heard;
        Server server = start_server(
            [&](TcpStream stream) {
                heard.put("begun");
                std::string first = stream.read(100);
                heard.put(first + stream.readexactly(6 - first.size()));
            },
            "127.0.0.1", 0);
        TcpStream client = open_connection("127.0.0.1", server.port());
        EXPECT_EQ(heard.get(), "begun");
        settle();
        EXPECT_EQ(::send(client.fd(), "abc", 3, 0), 3);
        EXPECT_EQ(::send(client.fd(), "!", 1, MSG_OOB), 1);
        EXPECT_EQ(::send(client.fd(), "def", 3, 0), 3);
        EXPECT_EQ(heard.get(), "abcdef");
    });
}

TEST_P(StreamTest, AReadThatEndsAtAPassedDescriptorHasNotReadAll) {
    run([] {
        Pair pair;
        auto reader = create_task([&] {
            std::string first = pair.b.read(100);
            return first + pair.b.readexactly(6 - first.size());
        });
        settle();
        int fd = pair.a.fd();
        iovec part{const_cast<char*>("abc"), 3};
        alignas(cmsghdr) char passed[CMSG_SPACE(sizeof(int))]{};
        msghdr message{};
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = passed;
        message.msg_controllen = sizeof passed;
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
        EXPECT_EQ(::sendmsg(fd, &message, 0), 3);
        EXPECT_EQ(::send(fd, "def", 3, 0), 3);
        EXPECT_EQ(await(reader), "abcdef");
    });
}

// Another task may make a new connection in its place.
TEST_P(StreamTest, AStreamMayGoWhileTasksWaitInIt) {
    run([] {
        Pair pair;
        auto reader = create_task([&] { return errno_of([&] { pair.b.read(1); }); });
        auto writer = [&] {
            return errno_of([&] { pair.b.write(std::string(std::size_t{8} << 20, 'x')); });
        };
        auto first = create_task(writer);
        auto second = create_task(writer);
        settle();
        pair.b = UnixStream();
        EXPECT_EQ(await(reader), EBADF);
        EXPECT_EQ(await(first), EBADF);
        EXPECT_EQ(await(second), EBADF);
    });
}

TEST_P(StreamTest, AReadWaitsUntilThereAreBytes) {
    run([] {
        Pair pair;
        auto reader = create_task([&] { return pair.b.read(100); });
        settle();
        EXPECT_FALSE(reader.done());
        pair.a.write("late");
        EXPECT_EQ(await(reader), "late");
    });
}

TEST_P(StreamTest, ReadToTheEndGivesAllOfIt) {
    run([] {
        Pair pair;
        std::string all = pattern(1'000'003);
        auto reader = create_task([&] { return pair.b.read(); });
        pair.a.write(all);
        pair.a.write_eof();
        EXPECT_EQ(await(reader), all);
        EXPECT_EQ(pair.b.read(), "");
        // The other direction is open still.
        pair.b.write("answer");
        EXPECT_EQ(pair.a.read(100), "answer");
    });
}

TEST_P(StreamTest, ReadexactlyGivesSoManyOrSaysWhatTherewas) {
    run([] {
        Pair pair;
        auto writer = create_task([&] {
            for (char c : std::string("abcdefgh")) {
                pair.a.write(std::string(1, c));
                yield();
            }
            pair.a.close();
        });
        EXPECT_EQ(pair.b.readexactly(5), "abcde");
        EXPECT_EQ(pair.b.readexactly(0), "");
        try {
            pair.b.readexactly(5);
            FAIL();
        } catch (const IncompleteReadError& e) {
            EXPECT_EQ(e.partial(), "fgh");
            EXPECT_EQ(e.expected(), 5U);
        }
        await(writer);
    });
}

TEST_P(StreamTest, ReaduntilFindsASeparatorThatComesInPieces) {
    run([] {
        Pair pair;
        auto writer = create_task([&] {
            for (const char* piece : {"one\r", "\ntwo\r\n\r\n", "three\r", "xfour\r\n", "rest"}) {
                pair.a.write(piece);
                settle();
            }
            pair.a.close();
        });
        EXPECT_EQ(pair.b.readuntil("\r\n"), "one\r\n");
        EXPECT_EQ(pair.b.readuntil("\r\n"), "two\r\n");
        EXPECT_EQ(pair.b.readuntil("\r\n"), "\r\n");
        EXPECT_EQ(pair.b.readuntil("\r\n"), "three\rxfour\r\n");
        try {
            pair.b.readuntil("\r\n");
            FAIL();
        } catch (const IncompleteReadError& e) {
            EXPECT_EQ(e.partial(), "rest");
            EXPECT_EQ(e.expected(), std::nullopt);
        }
        EXPECT_THROW(pair.b.readuntil(""), std::invalid_argument);
        await(writer);
    });
}

TEST_P(StreamTest, ReadlineGivesLinesAndTheRest) {
    run([] {
        Pair pair;
        pair.a.write("first\n\nthird\nlast");
        pair.a.close();
        EXPECT_EQ(pair.b.readline(), "first\n");
        EXPECT_EQ(pair.b.readline(), "\n");
        EXPECT_EQ(pair.b.readline(), "third\n");
        EXPECT_EQ(pair.b.readline(), "last");
        EXPECT_EQ(pair.b.readline(), "");
    });
}

// asyncio: test_streams' test_readuntil_limit, test_readline_limit
TEST_P(StreamTest, BeyondTheLimitReaduntilLeavesTheBytesAndReadlineDropsThem) {
    run([] {
        Pair pair;
        pair.b.set_limit(8);
        pair.a.write("0123456789abcdef");
        try {
            pair.b.readuntil("\n");
            FAIL();
        } catch (const LimitOverrunError& e) {
            EXPECT_EQ(e.consumed(), 16U);
        }
        EXPECT_EQ(pair.b.readexactly(4), "0123");
        EXPECT_THROW(pair.b.readline(), std::length_error);
        pair.a.write("ok\n0123456789\nok\n");
        EXPECT_EQ(pair.b.readline(), "ok\n");
        EXPECT_THROW(pair.b.readline(), std::length_error);
        EXPECT_EQ(pair.b.readline(), "ok\n");
        EXPECT_THROW(pair.b.set_limit(0), std::invalid_argument);
    });
}

TEST_P(StreamTest, WhatWasReadAheadIsThereForEveryKindOfRead) {
    run([] {
        Pair pair;
        pair.a.write("line\nabcdefghijk");
        EXPECT_EQ(pair.b.readline(), "line\n");
        char few[3];
        EXPECT_EQ(pair.b.read_some(few, 3), 3U);
        EXPECT_EQ(std::string(few, 3), "abc");
        EXPECT_EQ(pair.b.read(2), "de");
        EXPECT_EQ(pair.b.readexactly(1), "f");
        pair.a.close();
        EXPECT_EQ(pair.b.read(), "ghijk");
    });
}

TEST_P(StreamTest, ASecondReaderIsRefusedAndTheFirstGoesOn) {
    run([] {
        Pair pair;
        auto reader = start([&] { return pair.b.read(100); });
        EXPECT_THROW(pair.b.read(1), UsageError);
        EXPECT_THROW(pair.b.readline(), UsageError);
        pair.a.write("x");
        EXPECT_EQ(await(reader), "x");
        pair.a.write("y");
        EXPECT_EQ(pair.b.read(1), "y");
    });
}

// --- cancels and timeouts -----------------------------------------------------------------------------------------

TEST_P(StreamTest, ACancelledReadLosesNoByte) {
    run([] {
        Pair pair;
        auto reader = start([&] { pair.b.readexactly(10); });
        pair.a.write("01234");
        settle();
        reader.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(reader); }), "enough");
        auto to_the_end = start([&] { pair.b.read(); });
        pair.a.write("56");
        settle();
        to_the_end.cancel();
        EXPECT_THROW(await(to_the_end), CancelledError);
        pair.a.write("789");
        EXPECT_EQ(pair.b.readexactly(10), "0123456789");
    });
}

TEST_P(StreamTest, ATimeoutEndsAReadAndAWrite) {
    run([] {
        Pair pair;
        EXPECT_THROW(timeout(1ms, [&] { pair.b.read(1); }), TimeoutError);
        std::string much = pattern(10'000'000);
        EXPECT_THROW(timeout(1ms, [&] { pair.a.write(much); }), TimeoutError);
        EXPECT_EQ(pair.b.read(1), "a");
    });
}

// --- writing ------------------------------------------------------------------------------------------------------

TEST_P(StreamTest, AWriteWaitsWhileThePeerIsSlow) {
    run([] {
        Pair pair;
        std::string much = pattern(3'000'000);
        auto writer = start([&] { pair.a.write(much); });
        EXPECT_FALSE(writer.done());
        std::string got;
        while (got.size() < much.size()) {
            std::string part = pair.b.read(100'000);
            ASSERT_FALSE(part.empty());
            got += part;
        }
        await(writer);
        EXPECT_EQ(got, much);
    });
}

TEST_P(StreamTest, WritesOfManyTasksStayWhole) {
    run([] {
        Pair pair;
        constexpr int kWriters = 8;
        constexpr std::size_t kPiece = 300'000;
        auto reader = create_task([&] { return pair.b.read(); });
        task_group([&](TaskGroup& tg) {
            for (int i = 0; i < kWriters; ++i)
                tg.create_task([&, i] { pair.a.write(std::string(kPiece, char('A' + i))); });
        });
        pair.a.write_eof();
        std::string got = await(reader);
        ASSERT_EQ(got.size(), kPiece * kWriters);
        std::string order;
        for (std::size_t i = 0; i < got.size(); i += kPiece) {
            order += got[i];
            ASSERT_EQ(got.find_first_not_of(got[i], i),
                      i + kPiece < got.size() ? i + kPiece : std::string::npos);
        }
        std::sort(order.begin(), order.end());
        EXPECT_EQ(order, "ABCDEFGH");
    });
}

TEST_P(StreamTest, BothDirectionsAtOnce) {
    run([] {
        Pair pair;
        std::string there = pattern(2'000'000);
        std::string back(1'500'000, 'z');
        auto end = [](UnixStream& stream, const std::string& mine) {
            return gather(
                [&] {
                    stream.write(mine);
                    stream.write_eof();
                },
                [&] { return stream.read(); });
        };
        auto [a, b] = gather([&] { return std::get<1>(end(pair.a, there)); },
                             [&] { return std::get<1>(end(pair.b, back)); });
        EXPECT_EQ(a, back);
        EXPECT_EQ(b, there);
    });
}

TEST_P(StreamTest, WritelinesAndSpans) {
    run([] {
        Pair pair;
        pair.a.writelines(std::vector<std::string>{"a", "bc", "d"});
        std::byte bytes[] = {std::byte{'e'}, std::byte{'f'}};
        pair.a.write(std::span<const std::byte>(bytes));
        pair.a.drain();
        pair.a.close();
        EXPECT_EQ(pair.b.read(), "abcdef");
    });
}

TEST_P(StreamTest, SendfileSendsThatPartOfAFile) {
    run([] {
        Pair pair;
        std::string all = pattern(700'000);
        std::FILE* file = std::tmpfile();
        ASSERT_EQ(std::fwrite(all.data(), 1, all.size(), file), all.size());
        std::fflush(file);
        auto reader = create_task([&] { return pair.b.read(); });
        EXPECT_EQ(pair.a.sendfile(::fileno(file), 100, 600'000), 600'000U);
        EXPECT_EQ(pair.a.sendfile(::fileno(file), 699'990, 100), 10U) << "the file ends there";
        pair.a.write_eof();
        EXPECT_EQ(await(reader), all.substr(100, 600'000) + all.substr(699'990));
        pair.b.close();
        EXPECT_EQ(errno_of([&] { pair.a.sendfile(::fileno(file), 0, 1); }), EPIPE);
        std::fclose(file);
    });
}

/// A file that has `bytes`, gone with its end.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& bytes) : file_(std::tmpfile()) {
        EXPECT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file_), bytes.size());
        std::fflush(file_);
    }
    ~TemporaryFile() { std::fclose(file_); }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    int fd() const { return ::fileno(file_); }

private:
    std::FILE* file_;
};

// Nobody can know how much has been sent: so the stream stays open, and what to do with it is the caller's choice.
TEST_P(StreamTest, ACancelledSendfileHasSentABeginningAndLeavesTheStreamOpen) {
    run([] {
        Pair pair;
        const std::string all = pattern(10'000'000);
        TemporaryFile file(all);
        auto sender = start([&] { pair.a.sendfile(file.fd(), 0, all.size()); });
        settle();
        EXPECT_FALSE(sender.done()) << "nobody reads";
        sender.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(sender); }), "enough");
        EXPECT_THROW(timeout(1ms, [&] { pair.a.sendfile(file.fd(), 0, all.size()); }),
                     TimeoutError);
        EXPECT_FALSE(pair.a.is_closing());
        auto reader = create_task([&] { return pair.b.read(); });
        pair.a.write("!end!");
        pair.a.write_eof();
        std::string got = await(reader);
        ASSERT_TRUE(got.ends_with("!end!"));
        got.resize(got.size() - 5);
        EXPECT_GT(got.size(), 0U);
        EXPECT_LT(got.size(), all.size());
        EXPECT_TRUE(all.starts_with(got)) << "the second one has found no room at all";
    });
}

TEST_P(StreamTest, CloseAndAPeerThatGoesEndASendfile) {
    run([] {
        TemporaryFile file(pattern(10'000'000));
        for (bool by_peer : {false, true}) {
            Pair pair;
            auto sender =
                start([&] { return errno_of([&] { pair.a.sendfile(file.fd(), 0, 10'000'000); }); });
            settle();
            EXPECT_FALSE(sender.done());
            (by_peer ? pair.b : pair.a).close();
            int error = await(sender);
            EXPECT_TRUE(by_peer ? error == EPIPE || error == ECONNRESET : error == EBADF) << error;
        }
    });
}

TEST_P(StreamTest, DrainAndWaitClosedAreCancelPoints) {
    run([] {
        Pair pair;
        auto cancelled_in = [](auto&& call) {
            current_task().cancel("enough");
            std::string message = cancel_message_of(call);
            current_task().uncancel();
            return message;
        };
        EXPECT_EQ(cancelled_in([&] { pair.a.drain(); }), "enough");
        pair.a.drain();  // it was met, and is over
        EXPECT_FALSE(pair.a.is_closing());
        pair.a.close();
        EXPECT_EQ(cancelled_in([&] { pair.a.wait_closed(); }), "enough");
        pair.a.wait_closed();
    });
}

// --- ends and errors ----------------------------------------------------------------------------------------------

TEST_P(StreamTest, AfterCloseEveryCallSaysThatItIsClosed) {
    run([] {
        Pair pair;
        EXPECT_FALSE(pair.a.is_closing());
        pair.a.close();
        pair.a.close();
        EXPECT_TRUE(pair.a.is_closing());
        EXPECT_EQ(pair.a.fd(), -1);
        EXPECT_EQ(errno_of([&] { pair.a.read(1); }), EBADF);
        EXPECT_EQ(errno_of([&] { pair.a.readline(); }), EBADF);
        EXPECT_EQ(errno_of([&] { pair.a.write("x"); }), EBADF);
        EXPECT_EQ(errno_of([&] { pair.a.write_eof(); }), EBADF);
        EXPECT_EQ(errno_of([&] { pair.a.local_address(); }), EBADF);
        pair.a.wait_closed();
        UnixStream none;
        EXPECT_TRUE(none.is_closing());
        EXPECT_EQ(errno_of([&] { none.read(1); }), EBADF);
    });
}

TEST_P(StreamTest, CloseEndsTheCallsThatWait) {
    run([] {
        Pair pair;
        std::string much = pattern(10'000'000);
        auto reader = start([&] { return errno_of([&] { pair.a.read(1); }); });
        auto writer = start([&] { return errno_of([&] { pair.a.write(much); }); });
        pair.a.close();
        EXPECT_EQ(await(reader), EBADF);
        EXPECT_EQ(await(writer), EBADF);
    });
}

TEST_P(StreamTest, AWriteToAPeerThatHasGoneIsEpipeAndNoSignal) {
    run([] {
        Pair pair;
        pair.b.close();
        EXPECT_EQ(errno_of([&] { pair.a.write("x"); }), EPIPE);
    });
}

TEST_P(StreamTest, OutsideOfATaskNothingWorks) {
    std::optional<Pair> pair;
    run([&] { pair.emplace(); });
    EXPECT_THROW(pair->a.read(1), UsageError);
    EXPECT_THROW(UnixStream::from_fd(::dup(0)), std::exception);
    pair.reset();
}

TEST_P(StreamTest, InAnotherRuntimeItRefusesToWait) {
    std::optional<Pair> pair;
    run([&] { pair.emplace(); });
    run([&] {
        pair->a.write("there");
        EXPECT_EQ(pair->b.read(5), "there");
        EXPECT_THROW(pair->b.read(1), UsageError);  // nobody polls for it any more
    });
    pair.reset();
}

TEST_P(StreamTest, FromFdTakesStreamSocketsAlone) {
    run([] {
        EXPECT_EQ(errno_of([] { TcpStream::from_fd(-1); }), EBADF);
        int datagrams = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        EXPECT_EQ(errno_of([&] { UnixStream::from_fd(datagrams); }), ESOCKTNOSUPPORT);
        int pipe[2];
        ASSERT_EQ(::pipe(pipe), 0);
        EXPECT_EQ(errno_of([&] { UnixStream::from_fd(pipe[0]); }), ENOTSOCK);
        ::close(pipe[1]);
    });
}

// Many short reads and writes by turns, so that each wait meets its edge.
TEST_P(StreamTest, PingPong) {
    run([] {
        Pair pair;
        constexpr int kRounds = 3000;
        auto echo = create_task([&] {
            for (std::string data; !(data = pair.b.read(100)).empty();) pair.b.write(data);
        });
        for (int i = 0; i < kRounds; ++i) {
            std::string message = std::to_string(i);
            pair.a.write(message);
            ASSERT_EQ(pair.a.readexactly(message.size()), message);
        }
        pair.a.close();
        await(echo);
    });
}

}  // namespace

}  // namespace weft::test
