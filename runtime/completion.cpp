#include "completion.hpp"

#include <weft/detail/basic_errors.hpp>
#include <weft/detail/context_map.hpp>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <typeinfo>
#include <utility>

#include <cxxabi.h>

#include "check.hpp"
#include "debug_mode.hpp"
#include "graveyard.hpp"
#include "scheduler.hpp"

namespace weft::rt {

using detail::Core;
using detail::CoreKind;
using detail::JoinNode;
using detail::Outcome;

namespace {

void link_last(Core& core, JoinNode& node) noexcept {
    node.prev = core.last_joiner;
    node.next = nullptr;
    (node.prev != nullptr ? node.prev->next : core.first_joiner) = &node;
    core.last_joiner = &node;
    node.linked = true;
}

void unlink(Core& core, JoinNode& node) noexcept {
    (node.prev != nullptr ? node.prev->next : core.first_joiner) = node.next;
    (node.next != nullptr ? node.next->prev : core.last_joiner) = node.prev;
    node.linked = false;
}

void notify_joiners(Core& core) noexcept {
    // One node for each hold of the lock: a waiter that is cancelled meanwhile unlinks itself in between.
    for (;;) {
        std::lock_guard guard(core.lock);
        JoinNode* node = core.first_joiner;
        if (node == nullptr) return;
        unlink(core, *node);
        node->notify(*node, core);
    }
}

void report_unread(Core& core) noexcept {
    if (core.outcome != Outcome::error || core.error_read.load()) return;
    TaskCore* task = core.kind == CoreKind::task ? static_cast<TaskCore*>(&core) : nullptr;
    std::string what;
    try {
        what = task != nullptr ? "exception of task '" + name_of(*task) + "' was never retrieved"
                               : "exception of a future was never retrieved";
    } catch (const std::bad_alloc&) {
        what = "unread error";  // so short that it lies in the string itself
    }
    detail::report_error(
        what, core.error, task,
        task != nullptr ? task->where : static_cast<detail::UntypedFuture&>(core).where);
}

bool in_debug_mode(const TaskCore& task) noexcept {
    Scheduler* home = task.scheduler.load();
    return home != nullptr && home->debug();
}

/// Cancelled, not taken back, and it ends with a value.
bool has_swallowed_cancel(const TaskCore& task) noexcept {
    // order [swallow.1]: relaxed - a cancel that was delivered was taken under the lock, by this task.
    return task.outcome == Outcome::value && task.cancelling.load(std::memory_order_relaxed) > 0 &&
           !task.word.cancel_pending();
}

void end_unrun(TaskCore& task, Outcome outcome, std::exception_ptr error) noexcept {
    task.ops->discard(task);
    task.error = std::move(error);
    task.outcome = outcome;
}

}  // namespace

void complete_quietly(Core& core) noexcept {
    if (core.word.finish_and_hold() == detail::Finish::finished) return;
    notify_joiners(core);
    // If it is the last, of one that was cancelled, nothing of the user's goes with it.
    detail::drop_ref(core);
}

void finish_watched_task(TaskCore& task) noexcept {
    // Who is told of its error is told in its context. Taken out first: the values' destructors may ask for others.
    if (task.context != nullptr && task.outcome != Outcome::error)
        detail::context_release(std::exchange(task.context, nullptr));
    bool debug = in_debug_mode(task);
    if (debug) [[unlikely]]
        end_last_step(task);
    detail::Scope* scope = task.scope;
    // Counted before the end can be seen; one whose next cancel comes just now has not ended yet.
    bool swallowed = has_swallowed_cancel(task);
    if (swallowed) [[unlikely]]
        task.scheduler.load()->note_swallowed_cancels(1);
    detail::Finish finish = task.word.finish(if_cancelled(task));
    if (finish != detail::Finish::cancel_is_due) {
        if (swallowed && debug) report_swallowed_cancel(task);
    } else {
        if (swallowed) task.scheduler.load()->note_swallowed_cancels(-1);
        end_as_cancelled(task);
        finish = task.word.finish();
    }
    if (finish == detail::Finish::has_joiners) notify_joiners(task);
    if (scope != nullptr) scope->child_done(*scope, task);
    detail::drop_ref(task);
}

bool take_cancel_of(TaskCore& task, std::string* message) noexcept {
    std::lock_guard guard(task.lock);
    if (!task.word.take_cancel()) return false;
    detail::StickyState* sticky = task.scopes != nullptr ? task.scopes->sticky : nullptr;
    if (sticky != nullptr) [[unlikely]] {
        if (message != nullptr && task.extra != nullptr) *message = task.extra->cancel_message;
        sticky->met = true;
        sticky->requests = task.cancelling;
        if (sticky->passing_on == 0) task.word.request_cancel();
    } else if (message != nullptr && task.extra != nullptr) {
        message->swap(task.extra->cancel_message);
    }
    return true;
}

bool meet_cancel_of(TaskCore& task, std::string* message) noexcept {
    if (!take_cancel_of(task, message)) return false;
    if (in_debug_mode(task)) note_met_cancel(task);
    return true;
}

void end_as_cancelled(TaskCore& task) noexcept {
    std::string message;
    take_cancel_of(task, &message);
    end_unrun(task, Outcome::cancelled, std::make_exception_ptr(CancelledError(message)));
}

void fail_unstarted(TaskCore& task, std::exception_ptr error) noexcept {
    end_unrun(task, Outcome::error, std::move(error));
    finish_task(task);
}

void release_unrun(TaskCore& task) noexcept {
    if (task.started)
        return;  // a parked fiber that outlived its runtime: its frames cannot be unwound
    end_unrun(task, Outcome::cancelled,
              std::make_exception_ptr(CancelledError("the runtime was shut down")));
    finish_task(task);
}

std::uint32_t number_of(TaskCore& task) noexcept {
    // asyncio numbers tasks when they are made; a counter that all workers share would cost each spawn a cache miss,
    // so a task gets its number when somebody asks for its name.
    static std::atomic<std::uint32_t> last_number{0};
    if (task.number == 0) task.number = last_number.fetch_add(1) + 1;
    return task.number;
}

std::string describe(const std::exception_ptr& error) {
    if (error == nullptr) return "no exception";
    auto demangled = [](const std::type_info& type) {
        int status = 0;
        std::unique_ptr<char, void (*)(void*)> name(
            abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), std::free);
        return std::string(status == 0 ? name.get() : type.name());
    };
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& e) {
        return demangled(typeid(e)) + ": " + e.what();
    } catch (const CancelledError& e) {
        return "weft::CancelledError" + (e.message().empty() ? "" : ": " + e.message());
    } catch (...) {
        const std::type_info* type = abi::__cxa_current_exception_type();
        return type != nullptr ? demangled(*type) : "an unknown exception";
    }
}

}  // namespace weft::rt

namespace weft::detail {

std::string name_of(TaskCore& task) {
    std::lock_guard guard(task.lock);
    if (task.extra != nullptr && !task.extra->name.empty()) return task.extra->name;
    return "Task-" + std::to_string(rt::number_of(task));
}

namespace {

/// asyncio calls the exception handler with the context variables of the task that failed.
class InContextOf {
public:
    explicit InContextOf(TaskCore* task) noexcept : task_(task) {
        if (task_ != nullptr) before_ = exchange_context(task_->context);
    }
    ~InContextOf() {
        if (task_ != nullptr) task_->context = exchange_context(before_);
    }
    InContextOf(const InContextOf&) = delete;
    InContextOf& operator=(const InContextOf&) = delete;

private:
    TaskCore* task_;
    void* before_ = nullptr;
};

}  // namespace

void report_error(const std::string& context, std::exception_ptr error, TaskCore* task,
                  const std::source_location& where) noexcept {
    InContextOf in_context(task);
    rt::Worker* worker = rt::current_worker();
    rt::Scheduler* scheduler = worker != nullptr ? &worker->scheduler
                               : task != nullptr ? task->scheduler.load()
                                                 : nullptr;
    if (scheduler != nullptr && rt::report_to_sink(*scheduler, context, error, task)) return;
    try {
        std::string line = "weft: " + context + ": " + rt::describe(error);
        if (where.line() != 0)
            line += std::string(" (created at ") + where.file_name() + ":" +
                    std::to_string(where.line()) + ")";
        rt::complain(line.c_str());
    } catch (const std::bad_alloc&) {
        std::fprintf(stderr, "weft: %s (created at %s:%u): no memory is left to say more\n",
                     context.c_str(), where.file_name(), where.line());
    }
}

bool add_joiner(Core& core, JoinNode& node) noexcept {
    std::lock_guard guard(core.lock);
    if (!core.word.announce_joiner()) return false;
    rt::link_last(core, node);
    return true;
}

bool remove_joiner(Core& core, JoinNode& node) noexcept {
    std::lock_guard guard(core.lock);
    if (!node.linked) return false;
    rt::unlink(core, node);
    return true;
}

JoinNode* take_joiner(Core& core, bool (*wanted)(const JoinNode& node, const void* argument),
                      const void* argument) noexcept {
    std::lock_guard guard(core.lock);
    JoinNode* node = core.first_joiner;
    while (node != nullptr && !wanted(*node, argument)) node = node->next;
    if (node != nullptr) rt::unlink(core, *node);
    return node;
}

void complete(Core& core) noexcept {
    rt::complete_quietly(core);
    discard_now();
}

void destroy_core(Core& core) noexcept {
    if (core.outcome == Outcome::error) [[unlikely]]
        rt::report_unread(core);
    // Only callbacks can be left in the list, of a future that was never set: whoever waits holds a handle.
    while (JoinNode* node = core.first_joiner) {
        rt::unlink(core, *node);
        node->notify(*node, core);
    }
    bool is_task = core.kind == CoreKind::task;
    // The end of a runtime does not wait for what others do with its values.
    if (is_task && core.ops->destroy != nullptr) {
        auto& task = static_cast<TaskCore&>(core);
        rt::Worker* worker = rt::current_worker();
        if (worker == nullptr || &worker->scheduler != task.scheduler.load())
            task.value_goes.store(false);
    }
    if (core.ops->destroy != nullptr) core.ops->destroy(core);
    if (is_task) free_task(static_cast<TaskCore&>(core));
}

}  // namespace weft::detail
