#include <weft/future.hpp>

#include <mutex>

namespace weft::detail {

void unclaim_outcome(Core& core) noexcept {
    std::lock_guard guard(core.lock);
    core.claimed = false;
}

void set_future_error(Core& core, std::exception_ptr error) {
    core.error = std::move(error);
    core.outcome = Outcome::error;
    try {
        std::rethrow_exception(core.error);
    } catch (const CancelledError&) {
        core.outcome = Outcome::cancelled;
    } catch (...) {
    }
    complete(core);
}

void throw_already_set() { throw InvalidStateError("the future has a result already"); }
void throw_empty_future() { throw InvalidStateError("this future handle is empty"); }

void check_not_null(const std::exception_ptr& error) {
    if (error == nullptr) throw std::invalid_argument("Future::set_exception: null exception_ptr");
}

std::exception_ptr read_exception(Core& core) {
    if (!core.word.done()) throw_not_done(core);
    if (core.outcome == Outcome::cancelled) std::rethrow_exception(core.error);
    core.error_read.store(true);
    return core.error;
}

}  // namespace weft::detail
