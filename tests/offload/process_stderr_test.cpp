// What workers write to standard error: it comes out where the program's does, before the call
// returns, and the end of it is told when they die. Whatever becomes of the program's own standard
// error, no answer is lost.
#include <weft/process.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "offload/process_support.hpp"
#include "support/deny_call.hpp"

namespace {

using weft::ProcessPool;
using weft::WorkerDied;
using weft::rt::process::Descriptor;
using weft::test::death_of;
using weft::test::hang;
using weft::test::Messenger;
using weft::test::Pipe;
using weft::test::StandardError;
using weft::test::Watched;

void say(const std::string& text) { std::fputs(text.c_str(), stderr); }

void say_and_die(std::string text) {
    say(text);
    ::raise(SIGKILL);
}

#define EXPECT_SAYS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(ProcessStderr, StandsInTheProgramsBeforeTheCallReturns) {
    ProcessPool pool{{.workers = 1}};
    Pipe pipe;
    StandardError captured(pipe.writing.get());
    for (int round = 0; round < 50; ++round) {
        std::string line = "line " + std::to_string(round) + "\n";
        pool.run([](std::string text) { say(text); }, line);
        ASSERT_EQ(pipe.read_all(), line);
    }
}

TEST(ProcessStderr, ComesOutWhileTheCallStillRuns) {
    ProcessPool pool{{.workers = 1}};
    Messenger orders;
    Pipe pipe;
    StandardError captured(pipe.writing.get());
    std::thread caller([&] {
        pool.run(
            [](std::string path) {
                say("x");
                Messenger::listen(path);
            },
            orders.path());
    });
    char byte = 0;
    EXPECT_EQ(::read(pipe.reading.get(), &byte, 1), 1);
    EXPECT_EQ(byte, 'x');
    Messenger::tell(orders.path(), 1);
    caller.join();
}

TEST(ProcessStderr, ReachesAFileBehindWhatStandsThereAndASocketToo) {
    ProcessPool pool{{.workers = 1}};
    Descriptor file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    ASSERT_TRUE(file.open());
    {
        StandardError captured(file.get());
        say("first, ");
        pool.run([] { say("second"); });
    }
    char text[64] = {};
    ASSERT_GT(::pread(file.get(), text, sizeof text - 1, 0), 0);
    EXPECT_EQ(std::string(text), "first, second");

    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Descriptor near(ends[0]);
    Descriptor far(ends[1]);
    {
        StandardError captured(near.get());
        pool.run([] { say("third"); });
    }
    char answer[64] = {};
    ASSERT_GT(::read(far.get(), answer, sizeof answer - 1), 0);
    EXPECT_EQ(std::string(answer), "third");
}

TEST(ProcessStderr, ItsEndIsToldWhenTheWorkerDies) {
    ProcessPool pool{{.workers = 1}};
    Pipe pipe;
    StandardError captured(pipe.writing.get());
    WorkerDied died =
        death_of([&] { pool.run<&say_and_die>(std::string("one\ntwo\nthree\nfour\n")); });
    EXPECT_EQ(died.stderr_tail(), "one\ntwo\nthree\nfour\n");
    std::string what = died.what();
    EXPECT_SAYS(what, "its standard error ends in:\n    two\n    three\n    four");
    EXPECT_EQ(what.find("one"), std::string::npos) << what;
    EXPECT_EQ(pipe.read_all(), "one\ntwo\nthree\nfour\n") << "and it comes out as well";
}

TEST(ProcessStderr, OfAnEarlierCallIsNotToldForALaterOne) {
    ProcessPool pool{{.workers = 1}};
    Pipe pipe;
    StandardError captured(pipe.writing.get());
    pool.run([] { say("the earlier\n"); });
    WorkerDied died = death_of([&] { pool.run<&say_and_die>(std::string("the later")); });
    EXPECT_EQ(died.stderr_tail(), "the later");
    WorkerDied silent = death_of([&] { pool.run([] { ::raise(SIGKILL); }); });
    EXPECT_EQ(silent.stderr_tail(), "");
    EXPECT_EQ(std::string(silent.what()).find("standard error"), std::string::npos);
}

TEST(ProcessStderr, OfALongSpeechTheLastEightKilobytesAreTold) {
    ProcessPool pool{{.workers = 1}};
    Descriptor nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    StandardError captured(nowhere.get());
    WorkerDied died = death_of([&] {
        pool.run([] {
            for (int i = 0; i < 100'000; ++i) say(std::to_string(i) + "\n");
            ::raise(SIGKILL);
        });
    });
    EXPECT_EQ(died.stderr_tail().size(), 8192U);
    EXPECT_TRUE(died.stderr_tail().ends_with("99998\n99999\n")) << died.stderr_tail();
}

TEST(ProcessStderr, HeldOpenByAProcessThatTheWorkerStartedDelaysNothing) {
    ProcessPool pool{{.workers = 1}};
    Messenger messenger;
    WorkerDied died = death_of([&] {
        pool.run(
            [](std::string path) {
                pid_t child = ::fork();
                // Else it would end with the worker.
                if (child == 0) {
                    ::setsid();
                    Messenger::tell(path, ::getpid());
                    hang();
                }
                Messenger::listen(path);
                Messenger::tell(path, child);
                ::raise(SIGKILL);
            },
            messenger.path());
    });
    EXPECT_EQ(died.signal(), SIGKILL);
    Watched grandchild(messenger.hear());
    EXPECT_TRUE(grandchild.lives());
    EXPECT_EQ(pool.run([] { return 1; }), 1);
    grandchild.kill(SIGKILL);
}

TEST(ProcessStderr, ThatAWorkerClosesIsItsOwnAffair) {
    ProcessPool pool{{.workers = 1}};
    pid_t worker = pool.run([] {
        ::close(STDERR_FILENO);
        return ::getpid();
    });
    EXPECT_EQ(pool.run([] { return ::getpid(); }), worker);
}

TEST(ProcessStderr, OfTheProgramThatTakesNothingLosesNoAnswer) {
    ProcessPool pool{{.workers = 1}};
    Pipe pipe;
    pipe.fill();
    StandardError stuck(pipe.writing.get());
    // More than the worker's pipe holds, so it goes on when the rest has been dropped.
    EXPECT_EQ(pool.run([] {
        for (int i = 0; i < 1000; ++i) say(std::string(999, 'y') + "\n");
        return 7;
    }),
              7);
    WorkerDied died = death_of([&] { pool.run<&say_and_die>(std::string("last words")); });
    EXPECT_TRUE(died.stderr_tail().ends_with("last words"));
    // When it takes something again it is told what it has missed.
    pipe.read_all();
    pool.run([] { say("and on"); });
    std::string text = pipe.read_all();
    EXPECT_SAYS(text, "are missing here");
    EXPECT_TRUE(text.ends_with("and on")) << text;
}

TEST(ProcessStderr, OfTheProgramThatWasOnlySlowGetsAllInItsOrder) {
    ProcessPool pool{{.workers = 1}};
    Pipe pipe;
    pipe.fill();
    StandardError stuck(pipe.writing.get());
    pool.run([] { say("one, "); });
    // The manager may find room, and write, while this reads.
    std::string all = pipe.read_all();
    pool.run([] { say("two"); });
    all += pipe.read_all();
    EXPECT_TRUE(all.ends_with("xone, two")) << all.substr(all.size() - 20);
}

TEST(ProcessStderr, OfTheProgramThatTakesNothingKeepsNoLastWordsFromTheError) {
    ProcessPool pool{{.workers = 1}};
    Pipe pipe;
    pipe.fill();
    StandardError stuck(pipe.writing.get());
    // More than is read ahead while nothing can be passed on.
    WorkerDied died =
        death_of([&] { pool.run<&say_and_die>(std::string(20'000, 'y') + "last words"); });
    EXPECT_TRUE(died.stderr_tail().ends_with("last words"));
}

TEST(ProcessStderr, OfTheProgramThatIsOnlyFullKeepsTheLastWordsOfADeadWorkerForIt) {
    ProcessPool pool{{.workers = 1}};
    Pipe pipe;
    pipe.fill();
    StandardError stuck(pipe.writing.get());
    WorkerDied died =
        death_of([&] { pool.run<&say_and_die>(std::string(20'000, 'y') + "last words, "); });
    std::string all = pipe.read_all();
    pool.run([] { say("and on"); });
    all += pipe.read_all();
    EXPECT_TRUE(all.ends_with("yylast words, and on")) << all.substr(all.size() - 100);
    EXPECT_EQ(all.find("are missing here"), std::string::npos);
}

TEST(ProcessStderr, ThatIsKeptAtThePoolsEndStillComesOut) {
    Pipe pipe;
    pipe.fill();
    StandardError stuck(pipe.writing.get());
    auto pool = std::make_unique<ProcessPool>(weft::ProcessPoolOptions{.workers = 1});
    death_of([&] { pool->run<&say_and_die>(std::string(20'000, 'y') + "last words"); });
    Watched worker(pool->run([] { return ::getpid(); }));
    std::string all;
    std::thread reader([&] {
        while (worker.lives()) std::this_thread::yield();  // the end has begun
        pollfd more{pipe.reading.get(), POLLIN, 0};
        while (!all.ends_with("last words") && ::poll(&more, 1, 3000) == 1) all += pipe.read_all();
    });
    pool.reset();
    reader.join();
    EXPECT_TRUE(all.ends_with("yylast words")) << all.substr(all.size() - 100);
}

/// In a pool whose manager cannot open standard error anew, as where it is another user's terminal.
void run_where_standard_error_cannot_be_opened(const std::function<void(ProcessPool&)>& body) {
    std::thread([&body] {
        constexpr int kOwnFlags = O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
        weft::test_support::deny_call(SYS_openat, kOwnFlags, EACCES);
        ProcessPool pool{{.workers = 1}};
        pool.run([] {});
        body(pool);
    }).join();
}

TEST(ProcessStderr, ThatCannotBeOpenedAnewGetsWhatAPipeHasRoomFor) {
    run_where_standard_error_cannot_be_opened([](ProcessPool& pool) {
        Pipe pipe;
        {
            StandardError captured(pipe.writing.get());
            pool.run([] { say("all the same"); });
        }
        EXPECT_EQ(pipe.read_all(), "all the same");
        pipe.fill();
        StandardError stuck(pipe.writing.get());
        EXPECT_EQ(pool.run([] {
            for (int i = 0; i < 200; ++i) say(std::string(999, 'z') + "\n");
            return 7;
        }),
                  7);
    });
}

TEST(ProcessStderr, OfATerminalWithRoomForHalfOfItHoldsUpNoAnswer) {
    Descriptor master(::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(master.open());
    ASSERT_EQ(::grantpt(master.get()), 0);
    ASSERT_EQ(::unlockpt(master.get()), 0);
    char name[64] = {};
    ASSERT_EQ(::ptsname_r(master.get(), name, sizeof name), 0);
    Descriptor terminal(::open(name, O_RDWR | O_NOCTTY | O_CLOEXEC));
    Descriptor filling(::open(name, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    ASSERT_TRUE(terminal.open() && filling.open());
    while (::write(filling.get(), "x", 1) == 1) {
    }
    // From here on it says that there is room.
    pollfd asked{terminal.get(), POLLOUT, 0};
    for (char taken[16]; ::poll(&asked, 1, 0) == 0;) {
        ASSERT_GT(::read(master.get(), taken, sizeof taken), 0);
    }

    run_where_standard_error_cannot_be_opened([&](ProcessPool& pool) {
        StandardError captured(terminal.get());
        Messenger messenger;
        std::thread caller([&] {
            pool.run([] { say(std::string(4096, 'y')); });
            Messenger::tell(messenger.path(), 7);
        });
        EXPECT_EQ(messenger.hear(), 7);
        // Where the manager waits for the terminal after all, this lets it go.
        ::fcntl(master.get(), F_SETFL, O_NONBLOCK);
        for (char taken[4096]; ::read(master.get(), taken, sizeof taken) > 0;) {
        }
        caller.join();
    });
}

TEST(ProcessStderr, IsNotCutInTheMiddleOfACharacterInTheErrorsText) {
    ProcessPool pool{{.workers = 1}};
    Pipe pipe;
    StandardError captured(pipe.writing.get());
    for (std::string character : {"\u00e4", "\u20ac", "\U0001f600"}) {
        // Each place that the cut may have in it.
        for (std::size_t behind = 1; behind <= character.size(); ++behind) {
            std::string text;
            while (text.size() < 1000) text += character;
            text += std::string(behind, 'x');
            WorkerDied died = death_of([&] { pool.run<&say_and_die>(text); });
            std::string_view what = died.what();
            std::string_view shown = what.substr(what.find("ends in:\n    ") + 13);
            EXPECT_TRUE(shown.starts_with(character)) << what;
            EXPECT_GT(shown.size(), 490U);
            EXPECT_TRUE(text.ends_with(shown));
        }
    }
}

TEST(ProcessStderr, IsNotWrittenIntoADescriptorThatHasOnlyGotThatNumber) {
    ProcessPool pool{{.workers = 1}};
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Descriptor near(ends[0]);
    Descriptor far(ends[1]);
    {
        StandardError closed(-1);
        ASSERT_EQ(::dup3(near.get(), STDERR_FILENO, O_CLOEXEC), STDERR_FILENO);
        WorkerDied died = death_of([&] { pool.run<&say_and_die>(std::string("not for you")); });
        EXPECT_EQ(died.stderr_tail(), "not for you");
    }
    char byte = 0;
    EXPECT_EQ(::recv(far.get(), &byte, 1, MSG_DONTWAIT), -1);
}

TEST(ProcessStderr, OfTheProgramThatIsClosedOrReadByNobodyLosesNoAnswer) {
    ProcessPool pool{{.workers = 1}};
    auto talk = [](int number) {
        for (int i = 0; i < 200; ++i) say(std::string(999, 'z') + "\n");
        return number;
    };
    // Else its descriptors would lie where standard error comes back.
    pool.run([] {});
    {
        StandardError closed(-1);
        EXPECT_EQ(pool.run(talk, 1), 1);
        // One that is begun now may get that number for something of its own.
        ProcessPool other{{.workers = 1}};
        EXPECT_EQ(other.run(talk, 2), 2);
        EXPECT_EQ(other.run(talk, 3), 3);
    }
    Pipe pipe;
    pipe.reading.close();
    StandardError unread(pipe.writing.get());
    EXPECT_EQ(pool.run(talk, 4), 4);
}

TEST(ProcessStderr, OfManyWorkersAtOnceComesOutWhole) {
    ProcessPool pool{{.workers = 4}};
    Pipe pipe;
    StandardError captured(pipe.writing.get());
    std::vector<std::thread> threads;
    for (int number = 0; number < 40; ++number) {
        threads.emplace_back([&] { pool.run([] { say(std::string(99, 'a') + "\n"); }); });
    }
    for (std::thread& thread : threads) thread.join();
    std::string text = pipe.read_all();
    EXPECT_EQ(text.size(), 4000U);
    for (std::size_t end = 99; end < text.size(); end += 100) EXPECT_EQ(text[end], '\n');
}

}  // namespace
