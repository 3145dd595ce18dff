// Which tool for which work: waits overlap in the loop, blocking in threads, CPU in processes.
#include <weft/weft.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

std::string blocking(int id) {
    std::this_thread::sleep_for(1s);
    return "blocking " + std::to_string(id) + " done";
}

long cpu_heavy(long n) {
    long sum = 0;
    for (long i = 0; i < n; ++i) {
        sum += i * i;
    }
    return sum;
}

std::string repr(const std::string& text) { return "'" + text + "'"; }
std::string repr(long number) { return std::to_string(number); }

template <typename T>
void print(const std::vector<T>& items) {
    std::string line;
    for (const T& item : items) {
        line += (line.empty() ? "[" : ", ") + repr(item);
    }
    std::printf("%s]\n", line.c_str());
}

int main() {
    weft::run([] {
        std::vector<weft::Task<std::string>> threads;
        for (int id : {0, 1, 2}) {
            threads.push_back(weft::create_task([id] { return weft::to_thread(blocking, id); }));
        }
        print(weft::gather(threads));

        std::vector<weft::Task<long>> processes;
        for (long n : {10, 100, 1000}) {
            processes.push_back(weft::create_task([n] { return weft::to_process<&cpu_heavy>(n); }));
        }
        print(weft::gather(processes));
    });
}
