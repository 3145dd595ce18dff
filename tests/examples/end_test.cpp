// How the compute server begins and ends: options, signals, and what is in flight then.
#include <csignal>

#include "examples/compute_server_support.hpp"

namespace weft::test {

namespace {

TEST_F(ComputeServerTest, SigtermLetsARequestInFlightFinish) {
    for (int number : {SIGTERM, SIGINT}) {
        run([number] {
            ComputeServer server({"--grace", "60"});
            TcpStream stream = server.connect();
            stream.write("GET /evil?how=spin HTTP/1.1\r\nHost: test\r\n\r\n");
            server.await_metric("compute_in_use 1");
            server.signal(number);
            EXPECT_EQ(Reply(stream.read()).status, 504);
            EXPECT_EQ(server.exit_status(), 0);
            EXPECT_THROW(server.connect(), std::system_error);
        });
    }
}

// They have come before the signal, but it is stopped and has read none of them.
TEST_F(ComputeServerTest, SigtermLeavesNoRequestUnread) {
    run([] {
        ComputeServer server({"--grace", "60", "--workers", "4"});
        std::vector<TcpStream> clients;
        for (int i = 0; i < 200; ++i) {
            clients.push_back(server.connect());
            clients.back().write("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");
            EXPECT_TRUE(contains(clients.back().readuntil("hello\n"), "200 OK"));
        }
        server.signal(SIGSTOP);
        for (TcpStream& client : clients) client.write("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");
        server.signal(SIGTERM);
        server.signal(SIGCONT);
        for (TcpStream& client : clients) EXPECT_TRUE(contains(client.read(), "200 OK"));
        EXPECT_EQ(server.exit_status(), 0);
    });
}

TEST_F(ComputeServerTest, SigtermDoesNotWaitForIdleClients) {
    run([] {
        ComputeServer server({"--grace", "3600"});
        // Connections are accepted in order, so this one has been when the next one is answered.
        TcpStream never_asked = server.connect();
        TcpStream asked = server.connect();
        asked.write("GET /hello HTTP/1.1\r\nHost: test\r\n\r\n");
        EXPECT_TRUE(contains(asked.readuntil("hello\n"), "200 OK"));
        server.signal(SIGTERM);
        EXPECT_EQ(asked.read(), "");
        EXPECT_EQ(never_asked.read(), "");
        EXPECT_EQ(server.exit_status(), 0);
    });
}

TEST_F(ComputeServerTest, TheGraceEndsAndSoDoesASecondSignalsPatience) {
    for (bool by_signal : {false, true}) {
        run([by_signal] {
            ComputeServer server(
                {"--request-timeout", "3600", "--grace", by_signal ? "3600" : "0.2"});
            TcpStream stuck = server.connect();
            stuck.write("GET /hel");
            server.await_metric("http_requests_in_flight 2");  // with the one that asks
            server.signal(SIGTERM);
            if (by_signal) server.signal(SIGINT);
            EXPECT_EQ(server.exit_status(), 0);
        });
    }
}

struct Ended {
    int status;
    std::string out;
    std::string err;
};

Ended start(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), COMPUTE_SERVER);
    Process process = create_subprocess_exec(
        arguments, {.in = Stdio::devnull, .out = Stdio::pipe, .err = Stdio::pipe});
    auto [out, err] = process.communicate();
    return {process.wait(), out, err};
}

TEST_F(ComputeServerTest, BadOptionsAreOneLineAndExitStatus2) {
    run([] {
        for (const std::vector<std::string>& arguments :
             {std::vector<std::string>{"--port", "x"},
              {"--port", "65536"},
              {"--port"},
              {"--workers", "0"},
              {"--compute-limit", "-1"},
              {"--cert", "no-such-file", "--key", "no-such-file"},
              {"--cert", COMPUTE_SERVER},
              {"--cert", COMPUTE_SERVER, "--key", COMPUTE_SERVER},
              {"--nonsense"},
              {"nonsense"}}) {
            Ended ended = start(arguments);
            EXPECT_EQ(ended.status, 2) << arguments.front();
            EXPECT_EQ(ended.out, "");
            EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << ended.err;
            EXPECT_TRUE(ended.err.rfind("compute_server: ", 0) == 0) << ended.err;
        }
    });
}

TEST_F(ComputeServerTest, HelpNamesTheOptions) {
    run([] {
        Ended ended = start({"--help"});
        EXPECT_EQ(ended.status, 0);
        EXPECT_EQ(ended.err, "");
        for (const char* option : {"--host", "--port", "--workers", "--compute-limit", "--cert",
                                   "--key", "--request-timeout", "--grace", "--arena-nice"})
            EXPECT_TRUE(contains(ended.out, option)) << option;
    });
}

TEST_F(ComputeServerTest, APortThatIsTakenIsOneLineToo) {
    run([] {
        ComputeServer server;
        Ended ended = start({"--port", std::to_string(server.port())});
        EXPECT_EQ(ended.status, 1);
        EXPECT_EQ(ended.err.find('\n'), ended.err.size() - 1) << ended.err;
    });
}

}  // namespace

}  // namespace weft::test
