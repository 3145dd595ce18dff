#include "evil.hpp"

#include <weft/error.hpp>
#include <weft/time.hpp>

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include <sys/resource.h>

namespace compute_server {

namespace {

constexpr std::size_t kMemoryMiB = 512;

void segfault() {
    volatile std::uintptr_t nowhere = 64;
    *reinterpret_cast<volatile int*>(nowhere) = 1;
}

void spin() {
    volatile bool forever = true;
    while (forever) {
    }
}

void eat_memory(std::size_t limit_mib) {
    rlimit limit{};
    limit.rlim_cur = limit.rlim_max = rlim_t{limit_mib} << 20;
    ::setrlimit(RLIMIT_AS, &limit);
    constexpr std::size_t kBlock = std::size_t{16} << 20;
    std::vector<std::unique_ptr<char[]>> blocks;
    for (;;) blocks.push_back(std::make_unique<char[]>(kBlock));
}

}  // namespace

const std::vector<std::string_view>& Evil::ways() {
    static const std::vector<std::string_view> ways{"segfault", "spin", "oom"};
    return ways;
}

EvilEnd Evil::run(std::string_view way) {
    try {
        weft::timeout(kTimeLimit, [&] {
            if (way == "segfault") pool_.run<&segfault>();
            if (way == "spin") pool_.run<&spin>();
            if (way == "oom") pool_.run<&eat_memory>(kMemoryMiB);
        });
        return {.what = "it ended by itself"};
    } catch (const weft::WorkerDied& e) {
        std::string how = e.signal() != 0
                              ? "was killed by signal " + std::to_string(e.signal()) + " (" +
                                    ::strsignal(e.signal()) + ")"
                              : "ended with exit status " + std::to_string(e.exit_status());
        return {.what = "its process " + how};
    } catch (const weft::TimeoutError&) {
        return {.timed_out = true,
                .what = "it did not end within " + std::to_string(kTimeLimit.count()) +
                        " s, and was killed if it had begun"};
    } catch (const std::bad_alloc&) {
        return {.what =
                    "out of memory: its process may have " + std::to_string(kMemoryMiB) + " MiB"};
    }
}

}  // namespace compute_server
