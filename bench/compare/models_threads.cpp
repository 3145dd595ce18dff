// The models everybody knows: one after the other, a thread per task, a thread pool.
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <queue>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "format.hpp"
#include "models.hpp"

namespace weft_compare {
namespace {

// The usual pool: one queue, one lock, as many threads as asked for. Ends when its scope does, with
// the queue empty.
class ThreadPool {
public:
    explicit ThreadPool(unsigned threads) {
        for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
    }

    ~ThreadPool() {
        {
            const std::lock_guard guard(lock_);
            closed_ = true;
        }
        changed_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }

    void submit(std::function<void()> task) {
        {
            const std::lock_guard guard(lock_);
            queue_.push(std::move(task));
        }
        changed_.notify_one();
    }

private:
    void work() {
        std::unique_lock guard(lock_);
        while (true) {
            changed_.wait(guard, [this] { return closed_ || !queue_.empty(); });
            if (queue_.empty()) return;
            const std::function<void()> task = std::move(queue_.front());
            queue_.pop();
            guard.unlock();
            task();
            guard.lock();
        }
    }

    std::mutex lock_;
    std::condition_variable changed_;
    std::queue<std::function<void()>> queue_;
    bool closed_ = false;
    std::vector<std::thread> threads_;
};

void do_task(Run& run, std::size_t task) {
    run.results[task] = blocking_task(run.plan, task, run.words, run.words_locks);
}

// What the tasks of threads throw: the first one is the model's, once all threads are gone.
class FirstError {
public:
    void do_task(Run& run, std::size_t task) noexcept {
        try {
            weft_compare::do_task(run, task);
        } catch (...) {
            const std::lock_guard guard(lock_);
            if (error_ == nullptr) error_ = std::current_exception();
        }
    }

    void rethrow() const {
        if (error_ != nullptr) std::rethrow_exception(error_);
    }

private:
    std::mutex lock_;
    std::exception_ptr error_;
};

}  // namespace

// No heartbeat: a program that does one thing after the other has nothing that could beat
// meanwhile.
void run_sequential(Run& run) {
    for (std::size_t task = 0; task < run.plan.tasks; ++task) {
        if (run.plan.workload == Workload::shared) {
            run.results[task] = count_file(run.plan.path_of(task), run.words);
        } else {
            do_task(run, task);
        }
    }
}

void run_thread_per_task(Run& run) {
    const ThreadHeartbeat heartbeat(run.lag);
    FirstError error;
    std::vector<std::thread> threads;
    threads.reserve(run.plan.tasks);
    std::string why_not;
    try {
        for (std::size_t task = 0; task < run.plan.tasks; ++task) {
            threads.emplace_back([&run, &error, task] { error.do_task(run, task); });
        }
    } catch (const std::system_error& refused) {
        why_not =
            fmt::format("thread {} of {} could not be started: {}", count_text(threads.size() + 1),
                        count_text(run.plan.tasks), refused.code().message());
    }
    for (std::thread& thread : threads) thread.join();
    if (!why_not.empty()) throw CannotRun(why_not);
    error.rethrow();
    run.stopwatch.stop();
}

void run_thread_pool(Run& run) {
    const ThreadHeartbeat heartbeat(run.lag);
    FirstError error;
    {
        ThreadPool pool(run.plan.pool);
        for (std::size_t task = 0; task < run.plan.tasks; ++task) {
            pool.submit([&run, &error, task] { error.do_task(run, task); });
        }
    }
    error.rethrow();
    run.stopwatch.stop();
}

}  // namespace weft_compare
