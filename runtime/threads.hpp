// An elastic pool of plain threads for calls that block.
//
// A thread is started when a call comes and none is idle, up to a cap (asyncio's: cores + 4, at most 32); beyond that
// calls queue, first in first out. An idle thread ends after ten seconds. Any thread may submit or take back.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

#include "offload.hpp"

namespace weft::rt {

class Threads {
public:
    explicit Threads(std::size_t most);
    /// Runs what is queued, then joins all threads.
    ~Threads();
    Threads(const Threads&) = delete;
    Threads& operator=(const Threads&) = delete;

    /// std::system_error if the call needs a thread and none can be had, or would have to queue and may not.
    void submit(OffloadCall& call);
    /// True: it had not begun, and will not.
    bool take_back(OffloadCall& call) noexcept;

    std::size_t threads() const;

private:
    static constexpr std::chrono::seconds kIdleTime{10};
    void run();
    OffloadCall* pop() noexcept;
    void unlink(OffloadCall& call) noexcept;

    const std::size_t most_;
    mutable std::mutex mutex_;
    std::condition_variable work_;
    std::condition_variable ended_;
    OffloadCall* first_ = nullptr;
    OffloadCall* last_ = nullptr;
    std::size_t queued_ = 0;
    std::size_t idle_ = 0;
    std::size_t live_ = 0;
    unsigned started_ = 0;  // for names
    bool closing_ = false;
};

}  // namespace weft::rt
