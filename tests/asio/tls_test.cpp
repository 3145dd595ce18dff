// TLS by boost::asio::ssl over weft's streams: against itself, and against the openssl and curl of the system.
#include <boost/asio/buffer.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "asio_support.hpp"

namespace weft::test {

namespace {

namespace ssl = boost::asio::ssl;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using TlsStream = ssl::stream<AsioStream<TcpStream>>;

class TlsTest : public OverAsio {};
WEFT_TEST_ON_THREADS(TlsTest);

std::string text_of(BIO* bio) {
    char* data = nullptr;
    auto n = static_cast<std::size_t>(BIO_get_mem_data(bio, &data));
    std::string text(data, n);
    BIO_free(bio);
    return text;
}

/// A key and the certificate for localhost that it has signed itself; made once, good for a day.
struct Identity {
    std::string key;
    std::string certificate;

    Identity() {
        EVP_PKEY* pair = EVP_EC_gen("P-256");
        X509* cert = X509_new();
        X509_gmtime_adj(X509_getm_notBefore(cert), -60);
        X509_gmtime_adj(X509_getm_notAfter(cert), 24L * 3600);
        X509_set_pubkey(cert, pair);
        X509_NAME* name = X509_get_subject_name(cert);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
        X509_set_issuer_name(cert, name);
        X509_sign(cert, pair, EVP_sha256());
        BIO* bio = BIO_new(BIO_s_mem());
        PEM_write_bio_PrivateKey(bio, pair, nullptr, nullptr, 0, nullptr, nullptr);
        key = text_of(bio);
        bio = BIO_new(BIO_s_mem());
        PEM_write_bio_X509(bio, cert);
        certificate = text_of(bio);
        X509_free(cert);
        EVP_PKEY_free(pair);
    }
    static const Identity& instance() {
        static const Identity identity;
        return identity;
    }
};

ssl::context server_context() {
    const Identity& identity = Identity::instance();
    ssl::context context(ssl::context::tls_server);
    context.use_certificate(boost::asio::buffer(identity.certificate), ssl::context::pem);
    context.use_private_key(boost::asio::buffer(identity.key), ssl::context::pem);
    return context;
}

ssl::context client_context() {
    ssl::context context(ssl::context::tls_client);
    context.add_certificate_authority(boost::asio::buffer(Identity::instance().certificate));
    context.set_verify_mode(ssl::verify_peer);
    return context;
}

/// HTTP over TLS: answers with what was asked for.
auto https_server(ssl::context& context) {
    return [&context](TcpStream connection) {
        TlsStream tls(AsioStream<TcpStream>(std::move(connection)), context);
        boost::system::error_code error;
        tls.handshake(ssl::stream_base::server, error);
        beast::flat_buffer buffer;
        while (!error) {
            http::request<http::string_body> request;
            http::read(tls, buffer, request, error);
            if (error) break;
            http::response<http::string_body> response(http::status::ok, request.version());
            response.body() = "you asked for " + std::string(request.target()) + "\n";
            response.keep_alive(request.keep_alive());
            response.prepare_payload();
            http::write(tls, response, error);
            if (!request.keep_alive()) tls.shutdown(error);
        }
    };
}

TEST_P(TlsTest, BothWaysOverWeftAlone) {
    run([] {
        ssl::context server_side = server_context();
        ssl::context client_side = client_context();
        Server server = start_server(https_server(server_side), "127.0.0.1", 0);
        auto client = [&] {
            TlsStream tls(AsioStream<TcpStream>(open_connection("127.0.0.1", server.port())),
                          client_side);
            tls.handshake(ssl::stream_base::client);
            beast::flat_buffer buffer;
            for (int i = 0; i < 5; ++i) {
                http::write(tls, http::request<http::empty_body>(http::verb::get,
                                                                 "/" + std::to_string(i), 11));
                http::response<http::string_body> response;
                http::read(tls, buffer, response);
                EXPECT_EQ(response.body(), "you asked for /" + std::to_string(i) + "\n");
            }
            tls.next_layer().next_layer().write_eof();
        };
        std::vector<Task<void>> clients;
        for (int i = 0; i < 8; ++i) clients.push_back(create_task(client));
        gather(clients);
        server.close();
        server.wait_closed();
    });
}

TEST_P(TlsTest, CurlIsServed) {
    run([] {
        ssl::context context = server_context();
        Server server = start_server(https_server(context), "127.0.0.1", 0);
        std::string url = "https://127.0.0.1:" + std::to_string(server.port()) + "/curl";
        Process curl =
            create_subprocess_exec({"curl", "-sS", "--insecure", "--max-time", "20", url},
                                   {.out = Stdio::pipe, .err = Stdio::pipe});
        auto [out, err] = curl.communicate();
        EXPECT_EQ(out, "you asked for /curl\n") << err;
        EXPECT_EQ(curl.wait(), 0);
    });
}

TEST_P(TlsTest, ServersOfOpensslAreSpokenTo) {
    std::string stem = ::testing::TempDir() + "weft-tls-" + std::to_string(::getpid());
    run([&] {
        auto save = [](const std::string& path, const std::string& text) {
            std::FILE* file = std::fopen(path.c_str(), "we");
            std::fputs(text.c_str(), file);
            std::fclose(file);
        };
        save(stem + ".key", Identity::instance().key);
        save(stem + ".crt", Identity::instance().certificate);
        Process openssl = create_subprocess_exec(
            {"openssl", "s_server", "-accept", "127.0.0.1:0", "-key", stem + ".key", "-cert",
             stem + ".crt", "-www", "-naccept", "1"},
            {.in = Stdio::devnull, .out = Stdio::pipe, .err = Stdio::devnull});
        // "ACCEPT 127.0.0.1:PORT"
        std::string line = openssl.out().readline();
        while (!line.empty() && line.rfind("ACCEPT ", 0) != 0) line = openssl.out().readline();
        int port = std::atoi(line.substr(line.rfind(':') + 1).c_str());
        ASSERT_GT(port, 0) << line;
        ssl::context context = client_context();
        TlsStream tls(AsioStream<TcpStream>(open_connection("127.0.0.1", port)), context);
        tls.handshake(ssl::stream_base::client);
        http::write(tls, http::request<http::empty_body>(http::verb::get, "/", 10));
        beast::flat_buffer buffer;
        http::response<http::string_body> response;
        boost::system::error_code error;
        http::read(tls, buffer, response, error);
        EXPECT_EQ(response.result(), http::status::ok) << error.message();
        EXPECT_NE(response.body().find("s_server"), std::string::npos) << response.body();
    });
    std::filesystem::remove(stem + ".key");
    std::filesystem::remove(stem + ".crt");
}

// What is no TLS at all ends the handshake by an error, and that connection alone.
TEST_P(TlsTest, GarbageEndsTheHandshake) {
    run([] {
        ssl::context context = server_context();
        std::atomic<int> refused = 0;
        Server server = start_server(
            [&](TcpStream connection) {
                TlsStream tls(AsioStream<TcpStream>(std::move(connection)), context);
                boost::system::error_code error;
                tls.handshake(ssl::stream_base::server, error);
                if (error) ++refused;
            },
            "127.0.0.1", 0);
        for (const std::string& garbage :
             {std::string("GET / HTTP/1.0\r\n\r\n"), std::string(1000, '\xff'),
              std::string(1, '\x16'), std::string()}) {
            TcpStream client = open_connection("127.0.0.1", server.port());
            client.write(garbage);
            client.write_eof();
            errno_of([&] { client.read(); });
        }
        server.close();
        server.wait_closed();
        EXPECT_EQ(refused, 4);
    });
}

TEST_P(TlsTest, ATimeoutEndsAHandshakeWithASilentPeer) {
    run([] {
        Server server = start_server([](TcpStream stream) { stream.read(); }, "127.0.0.1", 0);
        ssl::context context = client_context();
        EXPECT_THROW(timeout(5ms,
                             [&] {
                                 TlsStream tls(AsioStream<TcpStream>(
                                                   open_connection("127.0.0.1", server.port())),
                                               context);
                                 tls.handshake(ssl::stream_base::client);
                             }),
                     TimeoutError);
    });
}

}  // namespace

}  // namespace weft::test
