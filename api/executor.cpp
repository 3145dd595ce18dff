// The slow paths of <weft/offload.hpp> and <weft/executor.hpp>.
#include <weft/detail/engine.hpp>
#include <weft/executor.hpp>
#include <weft/task.hpp>
#include <weft/time.hpp>

#include <algorithm>
#include <stdexcept>
#include <utility>

namespace weft {

namespace {

/// Blocks in a task's place on a thread made for it, and is not cut short: there is no going on before it is over. (On those
/// of the runtime's own pool it might wait for calls that wait for one of these.)
template <class Join>
void join_elsewhere(Join join) {
    if (lowlevel::in_task()) {
        try {
            ShieldScope shield;
            auto thread = detail::make_threads({.most = 1, .name = "weft-join"});
            auto on_it = [&](detail::OffloadCall& call) { detail::run_on_thread(call, *thread); };
            return detail::call_elsewhere(on_it, join);
        } catch (const std::exception&) {
            // No thread is to be had.
        }
    }
    join();
}

detail::ThreadsOptions to_engine_options(ThreadPoolOptions options) {
    detail::ThreadsOptions result;
    result.most =
        options.threads != 0 ? options.threads : detail::default_threads(detail::available_cores());
    if (options.queue_max != 0) result.queue_max = options.queue_max;
    // What is added to the time of day must not wrap around.
    result.idle_time = std::min<Duration>(options.idle_time, std::chrono::hours(24 * 365));
    result.name = std::move(options.name);
    return result;
}

detail::ArenaOptions to_engine_options(const ArenaOptions& options) {
    if (options.nice < 0 || options.nice > 19)
        throw std::invalid_argument("ArenaOptions: nice = " + std::to_string(options.nice) +
                                    " is not 0 to 19");
    detail::check_cores("ArenaOptions", options.cores);
    return {.cores = options.cores != 0 ? options.cores : detail::available_cores(),
            .nice = options.nice,
            .name = options.name,
            .queue_max = options.queue_max != 0 ? options.queue_max : SIZE_MAX};
}

}  // namespace

namespace detail {

std::size_t calls_ahead(std::size_t wanted) noexcept {
    return wanted != 0 ? wanted : std::size_t{2} * available_cores();
}

void wait_for_end(const AnyTask& task) noexcept {
    Core& core = *task.core();
    while (!core.word.done())
        join_core(core, lowlevel::kNever, lowlevel::Interrupt::never, {"map", &core});
    core.error_read.store(true);
}

}  // namespace detail

// --- threads ------------------------------------------------------------------------------------------------------

ThreadPool::ThreadPool(ThreadPoolOptions options)
    : threads_(detail::make_threads(to_engine_options(std::move(options)))) {}

ThreadPool::~ThreadPool() { shutdown(); }

void ThreadPool::shutdown(Shutdown how) {
    detail::close_threads(*threads_, how);
    join_elsewhere([this] { detail::join_threads(*threads_); });
}

ExecutorFigures ThreadPool::figures() const noexcept { return detail::figures_of(*threads_); }

// --- arena --------------------------------------------------------------------------------------------------------

Arena::Arena(const ArenaOptions& options)
    : arena_(detail::make_arena(to_engine_options(options))) {}

Arena::~Arena() { shutdown(); }

void Arena::shutdown(Shutdown how) {
    detail::close_arena(*arena_, how);
    join_elsewhere([this] { detail::join_arena(*arena_); });
}

ExecutorFigures Arena::figures() const noexcept { return detail::figures_of(*arena_); }

}  // namespace weft
