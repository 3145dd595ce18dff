// How a server ends that nobody has closed, or that is closed from within.

#include <optional>

#include "net_support.hpp"

namespace weft::test {

namespace {

class ServerLifeTest : public OnSockets {};
WEFT_TEST_ON_THREADS(ServerLifeTest);

int errno_of_connecting_to(int port) {
    return errno_of([&] { open_connection("127.0.0.1", port); });
}

// What a program does that ends all of its tasks.
TEST_P(ServerLifeTest, AServerWhoseTaskIsCancelledServesNoMore) {
    run([] {
        Server server = start_server([](TcpStream) {}, "127.0.0.1", 0);
        for (AnyTask task : all_tasks())
            if (task != current_task()) task.cancel();
        server.wait_closed();
        EXPECT_FALSE(server.is_serving());
        EXPECT_EQ(errno_of_connecting_to(server.port()), ECONNREFUSED);
    });
}

TEST_P(ServerLifeTest, AServerIsClosedAtTheEndOfRun) {
    Server server;
    run([&] { server = start_server([](TcpStream) {}, "127.0.0.1", 0); });
    EXPECT_FALSE(server.is_serving());
    run([&] { EXPECT_EQ(errno_of_connecting_to(server.port()), ECONNREFUSED); });
}

TEST_P(ServerLifeTest, AHandlerMayEndItsServerAndDoesNotWaitForItself) {
    run([] {
        for (bool in_a_group : {false, true}) {
            std::optional<Server> server;
            Event made;
            Queue<bool> ended;
            auto end = [&] {
                EXPECT_THROW(server->wait_closed(), UsageError);
                server.reset();
                ended.put_nowait(true);
                EXPECT_THROW(weft::sleep(1h), CancelledError);
                throw CancelledError();
            };
            server.emplace(start_server(
                [&](TcpStream stream) {
                    stream.write("x");
                    made.wait();
                    if (!in_a_group) return end();
                    task_group([&](TaskGroup& group) { group.create_task(end); });
                },
                "127.0.0.1", 0));
            const int port = server->port();
            TcpStream client = open_connection("127.0.0.1", port);
            EXPECT_EQ(client.read(1), "x");
            made.set();
            EXPECT_TRUE(ended.get());
            EXPECT_EQ(client.read(), "");
            EXPECT_EQ(errno_of_connecting_to(port), ECONNREFUSED);
        }
    });
}

// The server is gone when its end is heard of.
TEST_P(ServerLifeTest, AHandlerMayEndAServerThatOthersWaitFor) {
    run([] {
        for (bool forever : {false, true}) {
            std::optional<Server> server;
            server.emplace(start_server([&](TcpStream) { server.reset(); }, "127.0.0.1", 0));
            auto waiter =
                create_task([&] { forever ? server->serve_forever() : server->wait_closed(); });
            settle();
            open_connection("127.0.0.1", server->port());
            await(waiter);
            EXPECT_FALSE(server);
        }
    });
}

// A handler takes its time to end, and the one that accepts is gone.
TEST_P(ServerLifeTest, AServerThatIsCancelledIsClosedBeforeItsHandlersHaveEnded) {
    run([] {
        Event served;
        Event may_end;
        Server server = start_server(
            [&](TcpStream) {
                served.set();
                ShieldScope shield;
                may_end.wait();
            },
            "127.0.0.1", 0);
        TcpStream client = open_connection("127.0.0.1", server.port());
        served.wait();
        for (AnyTask task : all_tasks())
            if (task != current_task()) task.cancel();
        yield_until([&] { return !server.is_serving(); });
        EXPECT_EQ(server.connections(), 1U);
        may_end.set();
        server.wait_closed();
    });
}

// One that has nobody to accept holds no place.
TEST_P(ServerLifeTest, FewerConnectionsAtOnceThanListenersAreServedAll) {
    run([] {
        Server server = start_server([](TcpStream stream) { stream.write("x"); }, "127.0.0.1", 0,
                                     {.shards = 4, .max_connections = 1});
        // The kernel deals them out to the shards by a hash.
        for (int i = 0; i < 30; ++i)
            EXPECT_EQ(open_connection("127.0.0.1", server.port()).read(1), "x");
    });
}

}  // namespace

}  // namespace weft::test
