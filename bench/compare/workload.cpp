// The tasks' work; see workload.hpp.
#include "workload.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "measure.hpp"

namespace weft_compare {
namespace {

struct Descriptor {
    int fd;
    ~Descriptor() {
        if (fd >= 0) ::close(fd);
    }
};

using Hasher = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;

// EVP_sha256() would look the algorithm up again at every digest, under a lock that all threads
// share.
const EVP_MD* sha256() {
    static EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    if (algorithm == nullptr) throw std::runtime_error("OpenSSL has no SHA-256");
    return algorithm;
}

// The first eight bytes of SHA-256 over data, repeated.
std::uint64_t hash_repeated(const Bytes& data, std::uint64_t times) {
    const Hasher hasher(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
    bool ok = hasher && EVP_DigestInit_ex(hasher.get(), sha256(), nullptr) == 1;
    for (std::uint64_t i = 0; ok && i < times; ++i) {
        ok = EVP_DigestUpdate(hasher.get(), data.data(), data.size()) == 1;
    }
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    ok = ok && EVP_DigestFinal_ex(hasher.get(), digest.data(), nullptr) == 1;
    if (!ok) throw std::runtime_error("OpenSSL could not compute a SHA-256");
    std::uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | digest[static_cast<std::size_t>(i)];
    return value;
}

// Small files are repeated up to this size first: else a task would measure calls instead of
// hashing.
constexpr std::size_t kTileBytes = 64 * 1024;

void tile(Bytes& content) {
    if (content.empty()) content.push_back('\0');
    const std::size_t unit = content.size();
    while (content.size() < kTileBytes) {
        const std::size_t old = content.size();
        content.resize(old + unit);
        std::copy_n(content.begin(), unit, content.begin() + static_cast<std::ptrdiff_t>(old));
    }
}

}  // namespace

std::error_code read_file(const std::string& path, Bytes& content) {
    const auto last_error = [] { return std::error_code(errno, std::generic_category()); };
    const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY)};
    struct stat status{};
    if (file.fd < 0 || ::fstat(file.fd, &status) != 0) return last_error();
    // One byte more than the size says: the read that finds the end needs somewhere to go.
    content.resize(static_cast<std::size_t>(status.st_size) + 1);
    std::size_t filled = 0;
    while (true) {
        const ssize_t got = ::read(file.fd, content.data() + filled, content.size() - filled);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return last_error();
        if (got == 0) break;
        filled += static_cast<std::size_t>(got);
        if (filled == content.size()) content.resize(2 * filled);
    }
    content.resize(filled);
    return {};
}

std::chrono::nanoseconds wait_of(const Plan& plan) {
    return std::chrono::nanoseconds(std::llround(plan.wait_ms * 1e6));
}

std::string request_line(std::uint64_t task) { return std::to_string(task) + '\n'; }

TaskResult result_of_answer(std::string_view answer) {
    TaskResult result;
    const char* const end = answer.data() + answer.size();
    const auto [stop, error] = std::from_chars(answer.data(), end, result.value);
    if (error == std::errc{} && stop + 1 == end && *stop == '\n') return result;
    throw std::runtime_error("the server's answer was cut short");
}

TaskResult request(std::uint16_t port, std::uint64_t task) {
    const auto check = [](ssize_t result, const char* what) {
        if (result < 0) throw std::system_error(errno, std::generic_category(), what);
        return static_cast<std::size_t>(result);
    };
    const Descriptor socket{::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    check(socket.fd, "socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(::connect(socket.fd, reinterpret_cast<const sockaddr*>(&address), sizeof address),
          "connect");
    const std::string line = request_line(task);
    check(::send(socket.fd, line.data(), line.size(), MSG_NOSIGNAL), "send");
    std::string answer;
    std::array<char, 64> part{};
    while (const std::size_t got = check(::recv(socket.fd, part.data(), part.size(), 0), "recv")) {
        answer.append(part.data(), got);
    }
    return result_of_answer(answer);
}

TaskResult wait_result(std::size_t task) { return {task * 2654435761u & 0xFFFFFFFFu}; }

TaskResult hash_file(const std::string& path, std::uint64_t hash_bytes) {
    Bytes content;
    if (read_file(path, content)) return {0, false};
    tile(content);
    const std::uint64_t times = (hash_bytes + content.size() / 2) / content.size();
    return {hash_repeated(content, std::max<std::uint64_t>(1, times))};
}

TaskResult hash_file(const Plan& plan, std::size_t task) {
    return hash_file(plan.path_of(task), plan.hash_bytes);
}

void run_away() {
    const volatile bool on =
        true;  // volatile: a loop without any effect would not have to be there
    while (true) static_cast<void>(on);
}

TaskResult gave_up_result(std::size_t task) { return {task * 2246822519u & 0xFFFFFFFFu}; }

std::chrono::nanoseconds task_limit_of(const Plan& plan) {
    return std::chrono::nanoseconds(std::llround(plan.task_limit_ms * 1e6));
}

bool fill_buffer(const Plan& plan, std::size_t task, std::span<std::byte> buffer) {
    Bytes content;
    if (read_file(plan.path_of(task), content)) return false;
    if (content.empty()) content.push_back('\0');
    for (std::size_t at = 0; at < buffer.size(); at += content.size()) {
        std::memcpy(buffer.data() + at, content.data(),
                    std::min(content.size(), buffer.size() - at));
    }
    return true;
}

void recode(std::span<const std::byte> from, std::span<std::byte> to) {
    constexpr int kPasses = 4;
    static constexpr std::array<std::byte, 256> kCode = [] {
        std::array<std::byte, 256> code{};
        for (unsigned i = 0; i < code.size(); ++i) code[i] = static_cast<std::byte>(i * 167 + 13);
        return code;
    }();
    for (int pass = 0; pass < kPasses; ++pass) {
        std::transform(from.begin(), from.end(), to.begin(),
                       [](std::byte byte) { return kCode[std::to_integer<unsigned>(byte)]; });
        from = to;
    }
}

TaskResult result_of_buffer(std::span<const std::byte> recoded) {
    // A prime: no page of the buffer is left out, nor looked at in the same places as the next.
    constexpr std::size_t kStride = 509;
    std::string seen;
    seen.reserve(recoded.size() / kStride + 1);
    for (std::size_t at = 0; at < recoded.size(); at += kStride) {
        seen += static_cast<char>(recoded[at]);
    }
    return {crc32(seen)};
}

TaskResult recode_buffer(const Plan& plan, std::size_t task) {
    std::vector<std::byte> buffer(plan.buffer_bytes);
    if (!fill_buffer(plan, task, buffer)) return {0, false};
    recode(buffer, buffer);
    return result_of_buffer(buffer);
}

double hash_rate() {
    // By CPU time: on a busy machine the wall would give a rate that holds for that moment only.
    constexpr double kEnough_s = 0.05;
    const Bytes data(kTileBytes, 'w');
    hash_repeated(data, 1);
    const double start_s = cpu_seconds_self();
    double hashed = 0;
    double spent_s = 0;
    for (; spent_s < kEnough_s; spent_s = cpu_seconds_self() - start_s) {
        hash_repeated(data, 16);
        hashed += 16.0 * static_cast<double>(data.size());
    }
    return hashed / spent_s;
}

TaskResult count_file(const std::string& path, FileWords& words) {
    Bytes content;
    if (read_file(path, content)) return {0, false};
    words = FileWords(std::move(content));
    return {};
}

TaskResult count_file(const std::string& path, SharedWords& words) {
    Bytes content;
    if (read_file(path, content)) return {0, false};
    words.add_text({content.data(), content.size()});
    return {};
}

TaskResult blocking_task(const Plan& plan, std::size_t task, SharedWords& words, WordLocks& locks) {
    TaskResult result;
    switch (plan.workload) {
        case Workload::wait:
            std::this_thread::sleep_for(wait_of(plan));
            return wait_result(task);
        case Workload::network:
            return request(plan.port, task);
        case Workload::shared: {
            FileWords counted;
            result = count_file(plan.path_of(task), counted);
            words.merge(counted, locks, task);
            return result;
        }
        case Workload::runaway:
            if (plan.is_runaway(task)) run_away();
            return hash_file(plan, task);
        case Workload::cpu:
            return hash_file(plan, task);
        case Workload::buffer:
            return recode_buffer(plan, task);
        case Workload::mixed:
            std::this_thread::sleep_for(wait_of(plan));
            result = hash_file(plan, task);
            std::this_thread::sleep_for(wait_of(plan));
            return result;
    }
    return result;
}

}  // namespace weft_compare
