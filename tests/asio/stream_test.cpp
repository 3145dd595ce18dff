// An AsioStream on its own: its close, and what Beast's teardown makes of it.
#include <atomic>
#include <string>

#include <boost/asio/buffer.hpp>

#include "asio_support.hpp"

namespace weft::test {

namespace {

using boost::beast::role_type;

class AsioStreamTest : public OverAsio {};
WEFT_TEST_ON_THREADS(AsioStreamTest);

TEST_P(AsioStreamTest, CloseClosesTheStreamBelowAndEndsWhoWaitsInIt) {
    run([] {
        Pair pair;
        AsioStream<UnixStream&> stream(pair.a);
        char byte;
        boost::system::error_code error;
        auto reader = start([&] { return stream.read_some(boost::asio::buffer(&byte, 1), error); });
        EXPECT_FALSE(reader.done());
        stream.close();
        stream.close();
        EXPECT_EQ(await(reader), 0U);
        EXPECT_EQ(error, boost::asio::error::bad_descriptor);
        EXPECT_TRUE(pair.a.is_closing());
        EXPECT_EQ(pair.b.read(1), "");
        EXPECT_EQ(stream.write_some(boost::asio::buffer("x", 1), error), 0U);
        EXPECT_EQ(error, boost::asio::error::bad_descriptor);
    });
}

TEST_P(AsioStreamTest, AClientsTeardownWaitsForNobody) {
    run([] {
        Pair pair;
        AsioStream<UnixStream&> client(pair.a);
        client.next_layer().write("last");
        boost::system::error_code error = boost::asio::error::fault;
        teardown(role_type::client, client, error);
        EXPECT_FALSE(error) << error.message();
        EXPECT_TRUE(pair.a.is_closing());
        EXPECT_EQ(pair.b.read(), "last");
    });
}

TEST_P(AsioStreamTest, AServersTeardownEndsWhatItSendsAndWaitsForTheClientsEnd) {
    run([] {
        Pair pair;
        AsioStream<UnixStream&> server(pair.a);
        pair.b.write(std::string(5'000, 'x'));
        server.next_layer().write("last");
        boost::system::error_code error = boost::asio::error::fault;
        auto ending = start([&] { teardown(role_type::server, server, error); });
        EXPECT_EQ(pair.b.read(), "last");
        settle();
        EXPECT_FALSE(ending.done());
        EXPECT_FALSE(pair.a.is_closing());
        pair.b.write("more");
        settle();
        EXPECT_FALSE(ending.done());
        pair.b.write_eof();
        await(ending);
        EXPECT_FALSE(error) << error.message();
        EXPECT_TRUE(pair.a.is_closing());
    });
}

TEST_P(AsioStreamTest, AServersTeardownIsNotKeptByAClientThatGoesOnSending) {
    run([] {
        constexpr std::size_t kMuch = 20'000'000;
        constexpr std::size_t kReads = std::size_t{256} * 512;
        constexpr std::size_t kBuffersMost = 5'000'000;
        Pair pair;
        std::atomic<std::size_t> sent = 0;
        auto client = create_task([&] {
            std::string piece(1'000, 'x');
            return errno_of([&] {
                for (; sent < kMuch; sent += piece.size()) pair.b.write(piece);
                pair.b.write_eof();
            });
        });
        AsioStream<UnixStream&> server(pair.a);
        boost::system::error_code error;
        teardown(role_type::server, server, error);
        EXPECT_FALSE(error) << error.message();
        EXPECT_TRUE(pair.a.is_closing());
        // It is reset, for it has not been read to its end.
        const int error_of_client = await(client);
        EXPECT_TRUE(error_of_client == EPIPE || error_of_client == ECONNRESET) << error_of_client;
        EXPECT_LT(sent, kReads + kBuffersMost);
    });
}

TEST_P(AsioStreamTest, ATeardownGivesTheKernelsErrorAndThrowsACancelAlone) {
    run([] {
        for (role_type role : {role_type::client, role_type::server}) {
            Pair pair;
            AsioStream<UnixStream&> closed(pair.a);
            closed.close();
            boost::system::error_code error;
            teardown(role, closed, error);
            EXPECT_EQ(error, boost::asio::error::bad_descriptor);
        }
        Pair pair;
        auto ending = start([&] {
            AsioStream<UnixStream> server(std::move(pair.a));
            boost::system::error_code ignored;
            teardown(role_type::server, server, ignored);
        });
        EXPECT_EQ(pair.b.read(), "");
        ending.cancel("enough");
        EXPECT_EQ(cancel_message_of([&] { await(ending); }), "enough");
        EXPECT_EQ(errno_of([&] { pair.b.write("x"); }), EPIPE) << "unwound, it is closed";
    });
}

}  // namespace

}  // namespace weft::test
