// Other programs: how they start, end, are signalled and waited for, and that nothing is left of them.
#include <csignal>
#include <fstream>
#include <stdexcept>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "net_support.hpp"

namespace weft::test {

namespace {

/// At the end of each test there is no child, running or dead.
class SubprocessTest : public OnSockets {
protected:
    void TearDown() override {
        OnSockets::TearDown();
        EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
        EXPECT_EQ(errno, ECHILD);
    }
};
WEFT_TEST_ON_THREADS(SubprocessTest);

const SubprocessOptions kPiped{.in = Stdio::pipe, .out = Stdio::pipe, .err = Stdio::pipe};

std::string output_of(const std::string& command, SubprocessOptions options = {}) {
    options.out = Stdio::pipe;
    return create_subprocess_shell(command, options).communicate().first;
}

// --- ends ---------------------------------------------------------------------------------------------------------

TEST_P(SubprocessTest, WaitGivesTheExitStatus) {
    run([] {
        EXPECT_EQ(create_subprocess_exec({"true"}).wait(), 0);
        EXPECT_EQ(create_subprocess_exec({"false"}).wait(), 1);
        EXPECT_EQ(create_subprocess_shell("exit 42").wait(), 42);
        EXPECT_EQ(create_subprocess_shell("exit 255").wait(), 255);
    });
}

TEST_P(SubprocessTest, AProgramThatASignalKilledHasItsNegativeNumber) {
    run([] {
        EXPECT_EQ(create_subprocess_shell("kill -TERM $$").wait(), -SIGTERM);
        Process sleeper = create_subprocess_exec({"sleep", "1000"});
        EXPECT_EQ(sleeper.returncode(), std::nullopt);
        sleeper.kill();
        EXPECT_EQ(sleeper.wait(), -SIGKILL);
        EXPECT_EQ(sleeper.returncode(), -SIGKILL);
        Process other = create_subprocess_exec({"sleep", "1000"});
        other.terminate();
        EXPECT_EQ(other.wait(), -SIGTERM);
        EXPECT_EQ(sleeper.wait(), -SIGKILL);
    });
}

TEST_P(SubprocessTest, AnyNumberOfTasksMayWait) {
    run([] {
        Process process = create_subprocess_exec({"cat"}, kPiped);
        std::vector<Task<int>> waiters;
        for (int i = 0; i < 5; ++i) waiters.push_back(create_task([&] { return process.wait(); }));
        settle();
        waiters[0].cancel();
        settle();
        EXPECT_TRUE(waiters[0].cancelled());
        EXPECT_FALSE(waiters[1].done());
        EXPECT_EQ(process.returncode(), std::nullopt);
        process.in().close();
        for (int i = 1; i < 5; ++i) EXPECT_EQ(await(waiters[static_cast<std::size_t>(i)]), 0);
    });
}

TEST_P(SubprocessTest, TheReturncodeIsThereWithoutAWait) {
    run([] {
        Process process = create_subprocess_shell("exit 7", {.out = Stdio::pipe});
        EXPECT_EQ(process.out().read(), "");
        while (!process.returncode()) weft::sleep(1ms);
        EXPECT_EQ(process.returncode(), 7);
        EXPECT_EQ(process.wait(), 7);
    });
}

TEST_P(SubprocessTest, AStatusThatSomebodyElseHasTakenIs255) {
    run([] {
        Process process = create_subprocess_exec({"true"});
        EXPECT_EQ(::waitpid(process.pid(), nullptr, 0), process.pid());
        EXPECT_EQ(process.wait(), 255);
    });
}

// --- streams ------------------------------------------------------------------------------------------------------

TEST_P(SubprocessTest, CommunicateWritesAndReadsAtTheSameTime) {
    run([] {
        std::string much(3'000'000, 'x');
        Process process = create_subprocess_shell("tee /dev/stderr", kPiped);
        auto [out, err] = process.communicate(much);
        EXPECT_TRUE(out == much);
        EXPECT_TRUE(err == much);
        EXPECT_EQ(process.returncode(), 0);
    });
}

std::string name_of_process(int pid) {
    std::string name;
    std::getline(std::ifstream("/proc/" + std::to_string(pid) + "/comm"), name);
    return name;
}

TEST_P(SubprocessTest, WhatCommunicateHeardBeforeItsTimeIsThereForTheNext) {
    run([] {
        // Of both streams the end, and not that of the program; and of one stream only.
        for (const char* closes : {"exec >&- 2>&-", "exec 2>&-"}) {
            Process process = create_subprocess_shell(
                "echo out; echo err >&2; " + std::string(closes) + "; exec sleep 1000", kPiped);
            auto first = create_task([&] { process.communicate(); });
            yield_until([&] { return name_of_process(process.pid()) == "sleep"; });
            settle();
            first.cancel();
            EXPECT_THROW(await(first), CancelledError);
            process.kill();
            auto [out, err] = process.communicate();
            EXPECT_EQ(out, "out\n") << closes;
            EXPECT_EQ(err, "err\n") << closes;
        }
    });
}

TEST_P(SubprocessTest, AProgramNeedNotReadItsInput) {
    run([] {
        Process process = create_subprocess_exec({"true"}, kPiped);
        auto [out, err] = process.communicate(std::string(1'000'000, 'x'));
        EXPECT_EQ(out + err, "");
        EXPECT_EQ(process.returncode(), 0);
        Process other = create_subprocess_exec({"true"});
        EXPECT_THROW(other.communicate("input"), UsageError);
        other.wait();
    });
}

TEST_P(SubprocessTest, ADialogueLineByLine) {
    run([] {
        Process process = create_subprocess_exec({"cat"}, kPiped);
        for (const char* line : {"one\n", "two\n", "three\n"}) {
            process.in().write(line);
            EXPECT_EQ(process.out().readline(), line);
        }
        process.in().write_eof();
        EXPECT_EQ(process.out().readline(), "");
        EXPECT_EQ(process.wait(), 0);
    });
}

TEST_P(SubprocessTest, ErrorsMayGoWithTheOutput) {
    run([] {
        EXPECT_EQ(output_of("echo a; echo b >&2; echo c", {.err = Stdio::out}), "a\nb\nc\n");
        EXPECT_EQ(output_of("echo a; echo b >&2", {.err = Stdio::devnull}), "a\n");
        EXPECT_EQ(output_of("cat", {.in = Stdio::devnull}), "");
        Process silent = create_subprocess_exec({"true"});
        EXPECT_EQ(errno_of([&] { silent.in().write("x"); }), EBADF);
        EXPECT_THROW(create_subprocess_exec({"true"}, {.out = Stdio::out}), std::invalid_argument);
    });
}

TEST_P(SubprocessTest, AStreamMayBeADescriptorAndStaysTheCallers) {
    run([] {
        int fds[2];
        ASSERT_EQ(::pipe2(fds, O_CLOEXEC), 0);
        PipeStream reader = PipeStream::from_fd(fds[0]);
        Process process = create_subprocess_shell(
            "echo a; echo b >&2", {.out = Stdio::from_fd(fds[1]), .err = Stdio::from_fd(fds[1])});
        EXPECT_EQ(process.wait(), 0);
        EXPECT_EQ(::close(fds[1]), 0);
        EXPECT_EQ(reader.read(), "a\nb\n");
        EXPECT_EQ(errno_of([] { create_subprocess_exec({"true"}, {.out = Stdio::from_fd(-1)}); }),
                  EBADF);
        EXPECT_EQ(errno_of([] { create_subprocess_exec({"true"}, {.out = Stdio::from_fd(9999)}); }),
                  EBADF);
    });
}

TEST_P(SubprocessTest, LinesBeyondTheLimitAreRefusedOfBothOutputs) {
    run([] {
        SubprocessOptions options = kPiped;
        options.limit = 8;
        Process process = create_subprocess_exec({"tee", "/dev/stderr"}, options);
        process.in().write("12345678\n123456789\n");
        process.in().close();
        for (PipeStream* stream : {&process.out(), &process.err()}) {
            EXPECT_EQ(stream->readuntil(), "12345678\n");
            EXPECT_THROW(stream->readuntil(), LimitOverrunError);
            EXPECT_THROW(stream->readline(), std::length_error);
            EXPECT_EQ(stream->read(), "");
        }
        EXPECT_EQ(process.wait(), 0);
        options.limit = 0;
        EXPECT_THROW(create_subprocess_exec({"true"}, options), std::invalid_argument);
    });
}

// One after another they would both have the same.
TEST_P(SubprocessTest, TheStandardStreamsMayChangePlaces) {
    run([] {
        EXPECT_EQ(output_of("readlink /proc/self/fd/0 /proc/self/fd/2",
                            {.in = Stdio::from_fd(2), .err = Stdio::from_fd(0)}),
                  output_of("readlink /proc/$PPID/fd/2 /proc/$PPID/fd/0"));
    });
}

// --- what it is given ---------------------------------------------------------------------------------------------

TEST_P(SubprocessTest, DirectoryAndEnvironmentAreWhatWasSaid) {
    run([] {
        EXPECT_EQ(output_of("pwd", {.cwd = "/usr"}), "/usr\n");
        EXPECT_EQ(output_of("echo $A$B", {.env = {{"A", "1"}, {"B", "2"}}}), "12\n");
        EXPECT_EQ(output_of("echo \"$HOME\"", {.env = weft::Environment::empty()}), "\n");
        ::setenv("WEFT_TEST_VARIABLE", "mine", 1);
        EXPECT_EQ(output_of("echo $WEFT_TEST_VARIABLE"), "mine\n");
        ::unsetenv("WEFT_TEST_VARIABLE");
        weft::Environment more;
        more.set("A", "1");
        more.set("HOME", "/here");
        EXPECT_EQ(output_of("echo $A $HOME $PATH", {.env = more}),
                  "1 /here " + output_of("echo $PATH"));
        weft::Environment env{{"A", "1"}};
        env.set("A", "2");
        EXPECT_EQ(env.entries()->size(), 1U);
        EXPECT_THROW(env.set("A=B", "2"), std::invalid_argument);
        // The PATH is the new one's.
        EXPECT_EQ(
            errno_of([] { create_subprocess_exec({"true"}, {.env = {{"PATH", "/nowhere"}}}); }),
            ENOENT);
    });
}

TEST_P(SubprocessTest, ANewSessionHasTheProgramAsItsLeader) {
    run([] {
        // The sixth field of stat is the session.
        std::string command = "read -r a b c d e session rest < /proc/$$/stat; echo $session $$";
        auto is_leader = [&](const SubprocessOptions& options) {
            std::string out = output_of(command, options);
            std::size_t space = out.find(' ');
            return out.substr(0, space) + "\n" == out.substr(space + 1);
        };
        EXPECT_TRUE(is_leader({.new_session = true}));
        EXPECT_FALSE(is_leader({}));
    });
}

TEST_P(SubprocessTest, OtherDescriptorsAreNotThePrograms) {
    run([] {
        int careless = ::open("/dev/null", O_RDONLY);  // not close-on-exec
        ASSERT_GE(careless, 3);
        // The last one is what reads the directory.
        EXPECT_EQ(output_of("ls /proc/self/fd", {.in = Stdio::devnull}), "0\n1\n2\n3\n");
        ::close(careless);
    });
}

TEST_P(SubprocessTest, SignalsHaveTheirDefaultActionsAndNoneIsBlocked) {
    sigset_t blocked;
    sigset_t before;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    auto old = std::signal(SIGPIPE, SIG_IGN);
    run([] {
        std::string out = output_of("grep -E '^Sig(Blk|Ign)' /proc/self/status");
        constexpr const char* kBlocked = "SigBlk:\t0000000000000000\n";
        ASSERT_TRUE(out.starts_with(kBlocked)) << out;
        auto ignored = std::stoull(out.substr(out.rfind('\t') + 1), nullptr, 16);
        // 32 and 33 are libc's: what this process got from its parent is passed on.
        EXPECT_EQ(ignored & ~0x180000000ULL, 0U) << out;
    });
    std::signal(SIGPIPE, old);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// --- failures -----------------------------------------------------------------------------------------------------

TEST_P(SubprocessTest, AProgramThatCannotBeStartedIsAnErrorThatNamesIt) {
    run([] {
        auto start = [](const std::string& program, const std::string& cwd = "") {
            create_subprocess_exec({program}, {.in = Stdio::pipe, .out = Stdio::pipe, .cwd = cwd});
        };
        EXPECT_EQ(errno_of([&] { start("no-such-program"); }), ENOENT);
        EXPECT_EQ(errno_of([&] { start("/no/such/program"); }), ENOENT);
        EXPECT_EQ(errno_of([&] { start("/etc/passwd"); }), EACCES);
        EXPECT_EQ(errno_of([&] { start("true", "/no/such"); }), ENOENT);
        EXPECT_EQ(errno_of([&] { start("true", "/etc/passwd"); }), ENOTDIR);
        EXPECT_EQ(errno_of([&] { start(""); }), ENOENT);
        EXPECT_NE(what_of([&] { start("no-such-program"); }).find("no-such-program"),
                  std::string::npos);
        EXPECT_NE(what_of([&] { start("true", "/no/such"); }).find("directory /no/such"),
                  std::string::npos);
        EXPECT_THROW(create_subprocess_exec({}), std::invalid_argument);
        EXPECT_THROW(start(std::string("a\0b", 3)), std::invalid_argument);
        EXPECT_THROW(Process().pid(), UsageError);
    });
    EXPECT_THROW(create_subprocess_exec({"true"}), UsageError);
}

/// The number of the first descriptor that cannot be had any more is `first_free + n`.
class DescriptorLimit {
public:
    explicit DescriptorLimit(rlim_t n) {
        ::getrlimit(RLIMIT_NOFILE, &before_);
        int next = ::dup(0);
        ::close(next);
        rlimit limit{static_cast<rlim_t>(next) + n, before_.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before_); }

private:
    rlimit before_{};
};

TEST_P(SubprocessTest, WithoutADescriptorNothingStarts) {
    run([] {
        create_subprocess_exec({"true"}).wait();  // the pool has its thread
        int failed = 0;
        for (rlim_t n = 0;; ++n) {
            int error = 0;
            {
                DescriptorLimit limit(n);
                error = errno_of([] {
                    Process process = create_subprocess_exec({"cat"}, kPiped);
                    process.communicate("x");
                });
            }
            if (error == 0) break;
            EXPECT_EQ(error, EMFILE);
            EXPECT_LT(++failed, 20);
        }
        EXPECT_GE(failed, 6);
    });
}

// --- signals ------------------------------------------------------------------------------------------------------

TEST_P(SubprocessTest, SignalsReachTheProgramAndNobodyAfterItsEnd) {
    run([] {
        // Of all that a shell waits for, `wait` is what a trap interrupts for certain.
        Process process = create_subprocess_shell(
            "trap 'kill $!; echo caught; exit 3' USR1; sleep 1000 >/dev/null & echo ready; wait",
            {.out = Stdio::pipe});
        EXPECT_EQ(process.out().readline(), "ready\n");
        process.send_signal(SIGUSR1);
        EXPECT_EQ(process.out().readline(), "caught\n");
        EXPECT_EQ(process.wait(), 3);
        EXPECT_EQ(errno_of([&] { process.send_signal(SIGTERM); }), ESRCH);
        EXPECT_EQ(errno_of([&] { process.terminate(); }), ESRCH);
        EXPECT_EQ(errno_of([&] { process.kill(); }), ESRCH);
        EXPECT_EQ(errno_of([] {
                      Process other = create_subprocess_exec({"sleep", "1000"});
                      other.send_signal(1000);
                  }),
                  EINVAL);
    });
}

// --- the end of a Process -----------------------------------------------------------------------------------------

bool is_there(int pid) { return ::kill(pid, 0) == 0; }

TEST_P(SubprocessTest, TheDestructorKillsAndReaps) {
    run([] {
        int pid = 0;
        {
            Process process = create_subprocess_exec({"sleep", "1000"});
            pid = process.pid();
            EXPECT_TRUE(is_there(pid));
            Process moved = std::move(process);
            process = Process();
            EXPECT_TRUE(is_there(pid));
        }
        EXPECT_FALSE(is_there(pid));
    });
}

TEST_P(SubprocessTest, OutsideOfATaskItDoesTheSame) {
    int pid = 0;
    {
        std::optional<Process> process;
        run([&] {
            process = create_subprocess_exec({"sleep", "1000"});
            pid = process->pid();
        });
        EXPECT_TRUE(is_there(pid));
    }
    EXPECT_FALSE(is_there(pid));
}

TEST_P(SubprocessTest, ACancelEndsTheWaitAndUnwindingTheProgram) {
    run([] {
        for (int way : {0, 1}) {
            std::atomic<int> pid{0};
            auto task = create_task([&] {
                Process process = create_subprocess_exec({"sleep", "1000"}, kPiped);
                pid = process.pid();
                if (way == 0)
                    process.wait();
                else
                    process.communicate();
            });
            while (pid == 0) weft::sleep(1ms);
            settle();
            EXPECT_TRUE(is_there(pid));
            task.cancel();
            EXPECT_THROW(await(task), CancelledError);
            EXPECT_FALSE(is_there(pid));
        }
    });
}

TEST_P(SubprocessTest, ACancelledCommunicateLosesNoByte) {
    run([] {
        Process process = create_subprocess_shell("echo first; exec sleep 1000", kPiped);
        auto task = create_task([&] { process.communicate(); });
        weft::sleep(20ms);
        task.cancel();
        EXPECT_THROW(await(task), CancelledError);
        EXPECT_EQ(process.out().readline(), "first\n");
        EXPECT_EQ(process.returncode(), std::nullopt);
    });
}

TEST_P(SubprocessTest, ACancelWhileItStartsLeavesNothing) {
    run([] {
        for (int turns = 0; turns < 20; ++turns) {
            auto task = create_task([] {
                Process process = create_subprocess_exec({"sleep", "1000"}, kPiped);
                process.wait();
            });
            for (int i = 0; i < turns; ++i) weft::yield();
            if (turns % 4 == 3) weft::sleep(std::chrono::microseconds(100 * turns));
            task.cancel();
            EXPECT_THROW(await(task), CancelledError);
        }
    });
}

TEST_P(SubprocessTest, ManyAtOnce) {
    run([] {
        std::vector<Task<std::string>> tasks;
        for (int i = 0; i < 40; ++i)
            tasks.push_back(create_task([i] {
                Process process = create_subprocess_exec({"cat"}, kPiped);
                return process.communicate(std::to_string(i)).first;
            }));
        for (int i = 0; i < 40; ++i)
            EXPECT_EQ(await(tasks[static_cast<std::size_t>(i)]), std::to_string(i));
    });
}

}  // namespace

}  // namespace weft::test
