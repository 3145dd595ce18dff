// An echo server as one writes it in weft. weft_server PORT [WORKERS]
//
// Its buffer lies on the fiber's stack, where 1 KiB fits the page that a fiber has anyway; the others' 4 KiB are memory of
// their own. Messages are 64 bytes.
#include <weft/weft.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

void echo(weft::TcpStream stream) {
    char bytes[1024];
    while (std::size_t n = stream.read_some(bytes, sizeof bytes)) stream.write({bytes, n});
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: weft_server PORT [WORKERS]\n");
        return 2;
    }
    const int port = std::atoi(argv[1]);
    const unsigned workers = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
    weft::RunOptions options;
    options.workers = workers;
    options.exception_handler = [](const weft::ExceptionContext&) {};  // clients that break off
    weft::run(
        [port] {
            weft::Server server = weft::start_server(echo, "127.0.0.1", port);
            server.serve_forever();
        },
        options);
}
