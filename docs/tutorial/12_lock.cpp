// A Lock lets one coroutine at a time into the block: five times 1 s, before/after in pairs.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <mutex>
#include <vector>

using namespace std::chrono_literals;

int shared_resource = 0;
weft::Lock lock;

void modify_shared_resource() {
    std::lock_guard guard(lock);
    std::printf("resource before modification: %d\n", shared_resource);
    ++shared_resource;
    weft::sleep(1s);
    std::printf("resource after modification: %d\n", shared_resource);
}

int main() {
    weft::run([] { weft::gather(std::vector(5, &modify_shared_resource)); });
}
