// The load: CONNECTIONS connections from one epoll loop, each with one message of 64 bytes on its way at a time.
// client PORT CONNECTIONS SECONDS SERVER_PID
//
// Prints one line of JSON: requests a second, quantiles of the time to the answer, and the CPU time of the server's
// threads for each request. The first 0.3 s are not counted.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kMessage = 64;
constexpr std::chrono::milliseconds kWarmUp{300};

[[noreturn]] void die(const char* what) {
    std::perror(what);
    std::exit(1);
}

struct Connection {
    int fd = -1;
    std::size_t received = 0;
    Clock::time_point sent;
};

// The server may not listen yet.
int connect_to(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int attempt = 0; attempt < 500; ++attempt) {
        const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
        if (fd < 0) die("socket");
        if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
        ::close(fd);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    die("connect");
}

double cpu_ns_of(const std::string& pid) {
    double sum = 0;
    std::error_code gone;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/" + pid + "/task", gone)) {
        double ns = 0;
        std::ifstream(thread.path() / "schedstat") >> ns;
        sum += ns;
    }
    return sum;
}

void send_message(Connection& connection) {
    static const char message[kMessage] = "a request";
    connection.sent = Clock::now();
    if (::send(connection.fd, message, kMessage, MSG_NOSIGNAL) != kMessage) die("send");
}

// Whether the answer is whole.
bool receive(Connection& connection) {
    char bytes[kMessage];
    const ssize_t n = ::recv(connection.fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return false;
    if (n <= 0) die("recv");
    connection.received += static_cast<std::size_t>(n);
    if (connection.received < kMessage) return false;
    connection.received = 0;
    return true;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::fprintf(stderr, "usage: client PORT CONNECTIONS SECONDS SERVER_PID\n");
        return 2;
    }
    const std::string pid = argv[4];
    std::vector<Connection> connections(static_cast<std::size_t>(std::atoi(argv[2])));
    const int epoll = ::epoll_create1(0);
    for (std::size_t i = 0; i < connections.size(); ++i) {
        connections[i].fd = connect_to(std::atoi(argv[1]));
        const int on = 1;
        ::setsockopt(connections[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        epoll_event event{};
        event.events = EPOLLIN;
        event.data.u64 = i;
        if (::epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &event) != 0) die("epoll_ctl");
    }
    const auto measured_from = Clock::now() + kWarmUp;
    const auto until = measured_from + std::chrono::duration_cast<Clock::duration>(
                                           std::chrono::duration<double>(std::atof(argv[3])));
    for (Connection& connection : connections) send_message(connection);
    std::vector<float> answers_us;
    answers_us.reserve(4'000'000);
    Clock::time_point begin{};
    double cpu_ns = 0;
    std::vector<epoll_event> events(1024);
    for (auto now = Clock::now(); now < until; now = Clock::now()) {
        const int n = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 5000);
        if (n == 0) {
            std::fprintf(stderr, "the server does not answer\n");
            return 1;
        }
        if (begin == Clock::time_point{} && Clock::now() >= measured_from) {
            begin = Clock::now();
            cpu_ns = cpu_ns_of(pid);
        }
        for (int i = 0; i < n; ++i) {
            Connection& connection = connections[events[static_cast<std::size_t>(i)].data.u64];
            if (!receive(connection)) continue;
            const std::chrono::duration<float, std::micro> took = Clock::now() - connection.sent;
            if (begin != Clock::time_point{}) answers_us.push_back(took.count());
            send_message(connection);
        }
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    cpu_ns = cpu_ns_of(pid) - cpu_ns;
    if (answers_us.empty()) return 1;
    std::sort(answers_us.begin(), answers_us.end());
    const auto quantile = [&](double share) {
        const auto n = static_cast<double>(answers_us.size() - 1);
        return static_cast<double>(answers_us[static_cast<std::size_t>(share * n)]);
    };
    const auto count = static_cast<double>(answers_us.size());
    std::printf(
        "{\"requests_per_s\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
        "\"server_cpu_ns\": %.0f}\n",
        count / seconds, quantile(0.5), quantile(0.99), quantile(0.999), cpu_ns / count);
}
