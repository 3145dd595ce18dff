// hiredis, a C client of Redis that knows nothing of weft, in both ways that such a library can be used: its calls that
// block, through to_thread, and its event-driven interface, over wait_readable and wait_writable.
#include <csignal>
#include <filesystem>
#include <memory>

#include <fcntl.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include "net/net_support.hpp"

namespace weft::test {

namespace {

/// A server on a Unix socket in a directory of its own, that keeps nothing.
class RedisServer {
public:
    RedisServer() {
        directory_ = (std::filesystem::temp_directory_path() / "weft-redis-XXXXXX").string();
        if (::mkdtemp(directory_.data()) == nullptr)
            throw std::system_error(errno, std::generic_category(), "mkdtemp");
        std::string program = directory_ + "/redis-server";  // it goes by its name
        std::filesystem::create_symlink(REDIS_SERVER, program);
        process_ = create_subprocess_exec(
            {program, "--port", "0", "--unixsocket", path(), "--save", "", "--appendonly", "no",
             "--daemonize", "no", "--dir", directory_, "--logfile", directory_ + "/log"},
            {.in = Stdio::devnull});
        while (errno_of([&] { open_unix_connection(path()); }) != 0) {
            if (process_.returncode())
                throw std::runtime_error("redis-server ended: " + read_file(directory_ + "/log"));
            weft::sleep(1ms);
        }
    }
    ~RedisServer() {
        ShieldScope shield;
        kill();
        std::error_code ignored;
        std::filesystem::remove_all(directory_, ignored);
    }
    RedisServer(const RedisServer&) = delete;
    RedisServer& operator=(const RedisServer&) = delete;
    std::string path() const { return directory_ + "/s"; }
    void kill() {
        if (process_.returncode()) return;
        process_.kill();
        process_.wait();
    }

private:
    std::string directory_;
    Process process_;
};

/// What an answer says, its items one after another.
std::string text_of(const redisReply* reply) {
    switch (reply->type) {
        case REDIS_REPLY_INTEGER:
            return std::to_string(reply->integer);
        case REDIS_REPLY_NIL:
            return "nil";
        case REDIS_REPLY_ARRAY: {
            std::string all;
            for (std::size_t i = 0; i < reply->elements; ++i)
                all += (i == 0 ? "" : " ") + text_of(reply->element[i]);
            return all;
        }
        default:
            return {reply->str, static_cast<std::size_t>(reply->len)};
    }
}

/// A command's words, as hiredis takes them.
struct Words {
    std::vector<const char*> data;
    std::vector<std::size_t> sizes;
    explicit Words(const std::vector<std::string>& words) {
        for (const std::string& word : words) {
            data.push_back(word.data());
            sizes.push_back(word.size());
        }
    }
    int count() const { return static_cast<int>(data.size()); }
};

// --- calls that block ---------------------------------------------------------------------------------------------

/// A connection for one task at a time. Each call is made on a thread; a cancel ends it by ending the connection.
class BlockingRedis {
public:
    explicit BlockingRedis(const std::string& path)
        : context_(to_thread([&] { return Context(redisConnectUnix(path.c_str()), redisFree); })) {
        if (context_ == nullptr || context_->err != 0) throw std::runtime_error("redisConnectUnix");
    }
    std::string operator()(const std::vector<std::string>& command) {
        Words words(command);
        return to_thread([&](const std::stop_token& stop) {
            std::stop_callback unblock(stop, [&] { ::shutdown(context_->fd, SHUT_RDWR); });
            std::unique_ptr<void, decltype(&freeReplyObject)> reply(
                redisCommandArgv(context_.get(), words.count(), words.data.data(),
                                 words.sizes.data()),
                freeReplyObject);
            // Cancelled, it ends with CancelledError; not with what the cancel has brought about.
            if (reply == nullptr && stop.stop_requested()) return std::string();
            if (reply == nullptr) throw std::runtime_error(context_->errstr);
            return text_of(static_cast<const redisReply*>(reply.get()));
        });
    }

private:
    using Context = std::unique_ptr<redisContext, decltype(&redisFree)>;
    Context context_;
};

/// hiredis knows no MSG_NOSIGNAL: a program that uses it ignores SIGPIPE.
class RedisTest : public OnSockets {
protected:
    void SetUp() override {
        OnSockets::SetUp();
        before_ = std::signal(SIGPIPE, SIG_IGN);
    }
    void TearDown() override {
        std::signal(SIGPIPE, before_);
        OnSockets::TearDown();
    }

private:
    void (*before_)(int) = SIG_DFL;
};
WEFT_TEST_ON_THREADS(RedisTest);

TEST_P(RedisTest, BlockingCallsOfManyTasks) {
    run([] {
        RedisServer server;
        constexpr int kTasks = 16;
        constexpr int kEach = 40;
        task_group([&](TaskGroup& tg) {
            for (int t = 0; t < kTasks; ++t)
                tg.create_task([&, t] {
                    BlockingRedis redis(server.path());
                    std::string key = "key" + std::to_string(t);
                    for (int i = 0; i < kEach; ++i) {
                        redis({"INCR", "count"});
                        ASSERT_EQ(redis({"SET", key, std::to_string(i)}), "OK");
                        ASSERT_EQ(redis({"GET", key}), std::to_string(i));
                    }
                });
        });
        BlockingRedis redis(server.path());
        EXPECT_EQ(redis({"GET", "count"}), std::to_string(kTasks * kEach));
        std::string large(3'000'000, 'v');
        EXPECT_EQ(redis({"SET", "large", large}), "OK");
        EXPECT_TRUE(redis({"GET", "large"}) == large);
    });
}

TEST_P(RedisTest, ABlockingCallThatWaitsHoldsUpNobodyAndACancelEndsIt) {
    run([] {
        RedisServer server;
        BlockingRedis taker(server.path());
        auto taken = start([&] { return taker({"BLPOP", "list", "0"}); });
        BlockingRedis putter(server.path());
        EXPECT_EQ(putter({"GET", "nothing"}), "nil");
        EXPECT_FALSE(taken.done());
        EXPECT_EQ(putter({"LPUSH", "list", "item"}), "1");
        EXPECT_EQ(await(taken), "list item");
        auto cancelled = start([&] { taker({"BLPOP", "list", "0"}); });
        while (putter({"INFO", "clients"}).find("blocked_clients:1") == std::string::npos) yield();
        cancelled.cancel();
        EXPECT_THROW(await(cancelled), CancelledError);
        EXPECT_THROW(taker({"GET", "x"}), std::runtime_error) << "its connection has ended";
        EXPECT_EQ(putter({"LLEN", "list"}), "0");
    });
}

// --- driven by events ---------------------------------------------------------------------------------------------

/// One connection for any number of tasks at once. hiredis says when it wants to write, and is told when it can; it knows no
/// threads, so a lock is around all of it.
class AsyncRedis {
public:
    AsyncRedis(const std::string& path, TaskGroup& tasks)
        : context_(redisAsyncConnectUnix(path.c_str())) {
        if (context_ == nullptr || context_->err != 0)
            throw std::runtime_error("redisAsyncConnectUnix");
        context_->ev.data = this;
        context_->ev.addRead = [](void*) {};  // it always wants to
        context_->ev.delRead = [](void*) {};
        context_->ev.addWrite = [](void* self) { static_cast<AsyncRedis*>(self)->writes_.set(); };
        context_->ev.delWrite = [](void* self) { static_cast<AsyncRedis*>(self)->writes_.clear(); };
        // hiredis frees the context itself, where the connection ends, and says so.
        context_->ev.cleanup = [](void* self) {
            static_cast<AsyncRedis*>(self)->context_ = nullptr;
        };
        // A number of its own to wait for: hiredis may close the other one at any time.
        fd_ = ::fcntl(context_->c.fd, F_DUPFD_CLOEXEC, 0);
        reader_ = tasks.create_task(
            [this] { drive([this] { wait_readable(fd_); }, redisAsyncHandleRead); });
        writer_ = tasks.create_task([this] {
            drive(
                [this] {
                    writes_.wait();
                    wait_writable(fd_);
                },
                redisAsyncHandleWrite);
        });
    }
    ~AsyncRedis() {
        ShieldScope shield;
        {
            std::lock_guard guard(lock_);
            if (context_ != nullptr) redisAsyncFree(context_);
        }
        reader_.cancel();
        writer_.cancel();
        wait(std::vector{reader_, writer_});
        ::close(fd_);
    }
    AsyncRedis(const AsyncRedis&) = delete;
    AsyncRedis& operator=(const AsyncRedis&) = delete;

    std::string operator()(const std::vector<std::string>& command) {
        Words words(command);
        Future<std::string> answer;
        {
            std::lock_guard guard(lock_);
            auto held = std::make_unique<Future<std::string>>(answer);
            if (context_ == nullptr ||
                redisAsyncCommandArgv(context_, take, held.get(), words.count(), words.data.data(),
                                      words.sizes.data()) != REDIS_OK)
                throw std::runtime_error("no connection");
            held.release();  // take() has it: it is called once, whatever happens
        }
        return await(answer);
    }

private:
    template <class Wait, class Handle>
    void drive(Wait&& wait_until_ready, Handle&& handle) {
        for (;;) {
            wait_until_ready();
            std::lock_guard guard(lock_);
            if (context_ == nullptr) return;
            handle(context_);
        }
    }
    // Of an answer whose task was cancelled meanwhile nobody hears.
    static void take(redisAsyncContext*, void* reply, void* held) {
        std::unique_ptr<Future<std::string>> answer(static_cast<Future<std::string>*>(held));
        if (reply == nullptr)
            answer->try_set_exception(
                std::make_exception_ptr(std::runtime_error("the connection has ended")));
        else
            answer->try_set_result(text_of(static_cast<const redisReply*>(reply)));
    }

    Lock lock_;
    Event writes_;
    redisAsyncContext* context_;  // guarded by lock_
    int fd_ = -1;
    Task<void> reader_;
    Task<void> writer_;
};

TEST_P(RedisTest, OneConnectionDrivenByEventsServesManyTasks) {
    run([] {
        RedisServer server;
        task_group([&](TaskGroup& tg) {
            AsyncRedis redis(server.path(), tg);
            constexpr int kTasks = 40;
            constexpr int kEach = 25;
            std::vector<Task<void>> tasks;
            for (int t = 0; t < kTasks; ++t)
                tasks.push_back(create_task([&, t] {
                    std::string key = "key" + std::to_string(t);
                    for (int i = 0; i < kEach; ++i) {
                        redis({"INCR", "count"});
                        ASSERT_EQ(redis({"SET", key, std::to_string(i)}), "OK");
                        ASSERT_EQ(redis({"GET", key}), std::to_string(i));
                    }
                }));
            gather(tasks);
            EXPECT_EQ(redis({"GET", "count"}), std::to_string(kTasks * kEach));
            // More than a socket takes at once, in both directions.
            std::string large(8'000'000, 'v');
            EXPECT_EQ(redis({"SET", "large", large}), "OK");
            EXPECT_TRUE(redis({"GET", "large"}) == large);
        });
    });
}

TEST_P(RedisTest, ACancelledCommandLeavesTheConnectionInStep) {
    run([] {
        RedisServer server;
        task_group([&](TaskGroup& tg) {
            AsyncRedis redis(server.path(), tg);
            AsyncRedis other(server.path(), tg);
            auto taken = start([&] { return redis({"BLPOP", "list", "0"}); });
            taken.cancel();
            EXPECT_THROW(await(taken), CancelledError);
            // The server answers the one that was given up first, and then this.
            auto echo = start([&] { return redis({"ECHO", "next"}); });
            EXPECT_EQ(other({"LPUSH", "list", "item"}), "1");
            EXPECT_EQ(await(echo), "next");
            EXPECT_THROW(timeout(20ms, [&] { redis({"BLPOP", "list", "0"}); }), TimeoutError);
        });
    });
}

TEST_P(RedisTest, AServerThatDiesFailsWhatWaitsForIt) {
    run([] {
        RedisServer server;
        task_group([&](TaskGroup& tg) {
            AsyncRedis redis(server.path(), tg);
            EXPECT_EQ(redis({"PING"}), "PONG");
            std::vector<Task<std::string>> waiting;
            for (int i = 0; i < 5; ++i)
                waiting.push_back(start([&] { return redis({"BLPOP", "list", "0"}); }));
            server.kill();  // perhaps before it has got them, so that they are written to nobody
            for (auto& task : waiting) EXPECT_THROW(await(task), std::runtime_error);
            EXPECT_THROW(redis({"PING"}), std::runtime_error);
        });
    });
}

}  // namespace

}  // namespace weft::test
