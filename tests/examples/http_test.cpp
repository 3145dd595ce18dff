// The compute server's HTTP: what is asked for is answered, and what is wrong is refused.
#include <regex>
#include <sstream>

#include "examples/compute_server_support.hpp"

namespace weft::test {

namespace {

TEST_F(ComputeServerTest, HelloIsAnsweredAndHeadHasNoBody) {
    run([] {
        ComputeServer server;
        Reply hello = server.curl("/hello");
        EXPECT_EQ(hello.status, 200);
        EXPECT_EQ(hello.body, "hello\n");
        Reply head = server.curl("/hello", {"--head"});
        EXPECT_EQ(head.status, 200);
        EXPECT_EQ(head.body, "");
        EXPECT_TRUE(contains(head.head, "Content-Length: 6\r\n")) << head.head;
        Reply page = server.curl("/");
        EXPECT_EQ(page.status, 200);
        EXPECT_TRUE(contains(page.head, "Content-Type: text/html")) << page.head;
        EXPECT_TRUE(contains(page.body, "new WebSocket("));
        EXPECT_TRUE(contains(page.body, "mandelbrot.png?"));
    });
}

TEST_F(ComputeServerTest, AConnectionServesSeveralRequestsUntilItIsToClose) {
    run([] {
        ComputeServer server;
        std::string keep = "GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";
        TcpStream stream = server.connect();
        for (int i = 0; i < 3; ++i) {
            stream.write(keep);
            EXPECT_TRUE(contains(stream.readuntil("hello\n"), "HTTP/1.1 200 OK\r\n"));
        }
        stream.write(keep + keep + ComputeServer::request("/hello"));
        std::string rest = stream.read();
        std::size_t answers = 0;
        for (std::size_t at = 0; (at = rest.find("hello\n", at)) != std::string::npos; ++at)
            ++answers;
        EXPECT_EQ(answers, 3U) << rest;
        Reply old = server.say("GET /hello HTTP/1.0\r\n\r\n");
        EXPECT_EQ(old.status, 200);
        EXPECT_EQ(old.body, "hello\n");
    });
}

TEST_F(ComputeServerTest, HashIsSha256SoManyTimes) {
    run([] {
        ComputeServer server;
        EXPECT_EQ(server.curl("/hash").body,
                  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n");
        EXPECT_EQ(server.curl("/hash?n=2").body,
                  "5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456\n");
    });
}

TEST_F(ComputeServerTest, WhatIsWrongWithAQueryIsSaid) {
    run([] {
        ComputeServer server;
        for (const char* target :
             {"/hash?n=0", "/hash?n=x", "/hash?n=1x", "/hash?n=", "/hash?n", "/hash?n=1&n=2",
              "/hash?m=1", "/hash?n=10000001", "/hash?n=99999999999999999999", "/hello?x=1",
              "/mandelbrot.png?zoom=nan", "/mandelbrot.png?w=0", "/mandelbrot.png?h=2049",
              "/mandelbrot.png?x=1e400", "/evil", "/evil?how=politely"}) {
            Reply reply = server.get(target);
            EXPECT_EQ(reply.status, 400) << target;
            EXPECT_GT(reply.body.size(), 10U) << target;
        }
        EXPECT_EQ(server.get("/nowhere").status, 404);
        EXPECT_EQ(server.get("/hello/").status, 404);
        Reply posted = server.curl("/hello", {"--data", "x=1"});
        EXPECT_EQ(posted.status, 405);
        EXPECT_TRUE(contains(posted.head, "Allow: GET, HEAD\r\n")) << posted.head;
        EXPECT_EQ(server.get("/echo").status, 426);
    });
}

TEST_F(ComputeServerTest, WhatIsNoRequestOrTooLargeIsRefused) {
    run([] {
        ComputeServer server;
        EXPECT_EQ(server.say("what is this?\r\n\r\n").status, 400);
        EXPECT_EQ(server.say("GET /hello HTTP/9.9\r\n\r\n").status, 400);
        EXPECT_EQ(
            server.say("GET /hello HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n").status,
            431);
        // It says so before the body has come.
        EXPECT_EQ(server.say("POST /hello HTTP/1.1\r\nContent-Length: 1000000\r\n\r\nx").status,
                  413);
        EXPECT_EQ(server.curl("/hello", {"--data", std::string(60'000, 'x')}).status, 405);
        EXPECT_EQ(server.get("/hello").status, 200);
    });
}

TEST_F(ComputeServerTest, AClientThatIsTooSlowIsCutOffAloneThatIs) {
    run([] {
        ComputeServer server({"--request-timeout", "0.3"});
        TcpStream slow = server.connect();
        // A byte now and then does not help it.
        std::string answer;
        while (answer.empty()) {
            slow.write("G");
            try {
                answer = timeout(20ms, [&] { return slow.read(); });
            } catch (const TimeoutError&) {
            }
        }
        EXPECT_EQ(Reply(answer).status, 408) << answer;
        EXPECT_EQ(server.get("/hello").status, 200);
    });
}

TEST_F(ComputeServerTest, EvilEndsInItsOwnProcess) {
    run([] {
        ComputeServer server;
        Reply segfault = server.curl("/evil?how=segfault");
        EXPECT_EQ(segfault.status, 500);
        EXPECT_TRUE(contains(segfault.body, "segfault: its process ")) << segfault.body;
        Reply spin = server.curl("/evil?how=spin");
        EXPECT_EQ(spin.status, 504);
        EXPECT_TRUE(contains(spin.body, "killed")) << spin.body;
        Reply oom = server.curl("/evil?how=oom");
        EXPECT_EQ(oom.status, 500);
        if (!kIsSanitized) {
            EXPECT_TRUE(contains(segfault.body, "signal 11")) << segfault.body;
            EXPECT_TRUE(contains(oom.body, "out of memory")) << oom.body;
        }
        EXPECT_EQ(server.curl("/hello").body, "hello\n");
    });
}

// The first one takes two seconds. Where the second one is later than that, they are sent again.
TEST_F(ComputeServerTest, MoreThanTheLimitIsRefusedWithRetryAfter) {
    run([] {
        ComputeServer server({"--compute-limit", "1"});
        Reply refused;
        for (int attempt = 0; refused.status != 503 && attempt < 10; ++attempt) {
            task_group([&](TaskGroup& tg) {
                tg.create_task([&] { EXPECT_EQ(server.get("/evil?how=spin").status, 504); });
                server.await_metric("compute_in_use 1");
                refused = server.get("/hash");
                EXPECT_EQ(server.get("/hello").status, 200);
            });
        }
        EXPECT_EQ(refused.status, 503);
        EXPECT_TRUE(contains(refused.head, "Retry-After: 1\r\n")) << refused.head;
        EXPECT_EQ(server.get("/hash").status, 200);
        server.await_metric("compute_rejected_total 1");
    });
}

TEST_F(ComputeServerTest, MetricsAreWhatPrometheusReads) {
    run([] {
        ComputeServer server({"--compute-limit", "3"});
        for (int i = 0; i < 4; ++i) server.get("/hello");
        server.get("/nowhere");
        Reply metrics = server.curl("/metrics");
        EXPECT_TRUE(contains(metrics.head, "Content-Type: text/plain; version=0.0.4"))
            << metrics.head;
        for (const char* line : {"http_requests_total{route=\"/hello\",status=\"200\"} 4",
                                 "http_requests_total{route=\"other\",status=\"404\"} 1",
                                 "compute_limit 3", "compute_in_use 0"})
            EXPECT_TRUE(contains(metrics.body, std::string("\n") + line + "\n")) << metrics.body;
        std::regex good(
            R"(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? \d+)");
        std::istringstream lines(metrics.body);
        for (std::string line; std::getline(lines, line);)
            EXPECT_TRUE(std::regex_match(line, good)) << line;
    });
}

// --- on the arena -------------------------------------------------------------------------------------------------

class ArenaOfComputeServer : public ComputeServerTest {};

TEST_F(ArenaOfComputeServer, MandelbrotIsAPictureOfThatSize) {
    run([] {
        ComputeServer server;
        auto picture = [&](const std::string& query) {
            Reply reply = server.curl("/mandelbrot.png" + query);
            EXPECT_EQ(reply.status, 200) << query;
            EXPECT_TRUE(contains(reply.head, "Content-Type: image/png\r\n")) << reply.head;
            return reply.body;
        };
        std::string one = picture("?w=300&h=200");
        ASSERT_GT(one.size(), 100U);
        EXPECT_EQ(one.substr(0, 8), "\x89PNG\r\n\x1a\n");
        EXPECT_EQ(one.substr(12, 12), std::string("IHDR\0\0\x01\x2c\0\0\0\xc8", 12));
        EXPECT_EQ(one.substr(one.size() - 8, 4), "IEND");
        EXPECT_NE(one, picture("?w=300&h=200&x=-0.745&y=0.11&zoom=50"));
        EXPECT_EQ(one, picture("?h=200&w=300"));
    });
}

// A square within the set: each point takes all iterations, and the whole many seconds.
TEST_F(ArenaOfComputeServer, OthersAreAnsweredWhileAPictureIsComputed) {
    run([] {
        ComputeServer server({"--grace", "0"});
        TcpStream busy = server.connect();
        busy.write(ComputeServer::request(
            "/mandelbrot.png?x=-0.2&zoom=10&w=1500&h=1500&iterations=10000"));
        server.await_metric("compute_in_use 1");
        for (int i = 0; i < 20; ++i) EXPECT_EQ(server.get("/hello").body, "hello\n");
        EXPECT_TRUE(contains(server.get("/metrics").body, "\ncompute_in_use 1\n"));
        // Its end cancels the picture.
        server.signal(SIGTERM);
        EXPECT_EQ(server.exit_status(), 0);
    });
}

}  // namespace

}  // namespace weft::test
