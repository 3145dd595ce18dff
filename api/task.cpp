#include <weft/context_var.hpp>
#include <weft/detail/engine.hpp>
#include <weft/run.hpp>
#include <weft/task.hpp>

#include <mutex>

namespace weft {

namespace detail {

namespace {

/// Outside of a runtime there is only the environment to ask.
bool debug_mode() noexcept {
    const rt::Scheduler* scheduler = current_scheduler();
    return scheduler != nullptr ? options_of(*scheduler).debug
                                : static_cast<bool>(Switch::from_environment("WEFT_DEBUG"));
}

}  // namespace

void warn_never_awaited(const char* name, const std::source_location& where) noexcept {
    if (name != nullptr && debug_mode())
        std::fprintf(stderr, "weft: coroutine '%s' was never awaited (made at %s:%u)\n", name,
                     where.file_name(), where.line());
    else if (name != nullptr)
        std::fprintf(stderr, "weft: coroutine '%s' was never awaited\n", name);
    else
        std::fprintf(stderr, "weft: coroutine made at %s:%u was never awaited\n", where.file_name(),
                     where.line());
}

void throw_already_awaited() { throw UsageError("await: this coroutine has been awaited already"); }

bool cancel_or_ignore(Core& core, const std::string& message) {
    bool cancelled = cancel_core(core, message);
    if (!cancelled) core.error_read.store(true);
    discard_now();
    return cancelled;
}

void store_failure(Core& core) noexcept {
    core.error = std::current_exception();
    try {
        throw;
    } catch (const CancelledError&) {
        core.outcome = Outcome::cancelled;
    } catch (...) {
        core.outcome = Outcome::error;
    }
}

void throw_failure(Core& core) {
    core.error_read.store(true);
    std::rethrow_exception(core.error);
}

namespace {

std::string label(Core& core) {
    return core.kind == CoreKind::task
               ? "task '" + detail::name_of(static_cast<TaskCore&>(core)) + "'"
               : "the future";
}

}  // namespace

void throw_not_done(Core& core) {
    throw InvalidStateError("result of " + label(core) + " is not set yet");
}

void throw_taken(Core& core) {
    throw InvalidStateError("result of " + label(core) + " has been moved out");
}

void require_runtime(const char* what) {
    if (current_scheduler() != nullptr) return;
    check_not_forked(what);
    throw UsageError(
        std::string(what) +
        ": no running runtime; call it inside weft::run, weft::Runner or weft::Runtime");
}

void check_stack_size(std::size_t bytes) {
    constexpr std::size_t kLeast = 16 * 1024;
    if (bytes != 0 && (bytes < kLeast || bytes > UINT32_MAX))
        throw std::invalid_argument("a stack of " + std::to_string(bytes) +
                                    " bytes: it needs 16 KiB to 4 GiB");
}

void apply_options(TaskCore& task, const TaskOptions& options) {
    if (!options.name.empty()) {
        task.extra = new TaskExtra;
        task.extra->name = options.name;
    }
    check_stack_size(options.stack_size);
    task.stack_bytes = static_cast<std::uint32_t>(options.stack_size);
    if (options.context != nullptr) task.context = context_retain(options.context->handle());
}

void launch_with_options(TaskCore& task, const TaskOptions& options) {
    try {
        apply_options(task, options);
    } catch (...) {
        close_unlaunched(task);
        throw;
    }
    if (options.eager)
        launch_eagerly(task);
    else
        launch(task);
}

namespace {

/// Waits in the core's list to launch the callback; owned by nobody but the list.
struct CallbackNode : JoinNode {
    TaskCore* callback;
    CoreRef* slot;
    HomeRef home;  // where it is to run
    std::uint64_t id;
};

std::uint64_t next_callback_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1) + 1;
}

bool try_launch_callback(CallbackNode& node, Core& core) noexcept {
    *node.slot = CoreRef::share(core);
    TaskCore& callback = *node.callback;
    // No handle, and before it can run: so the runtime's reference is the last, and nobody meets its error here.
    drop_ref(callback);
    if (try_launch(node.home, callback)) return true;
    callback.word.add_ref();
    return false;
}

void launch_callback(JoinNode& self, Core& core) noexcept {
    auto& node = static_cast<CallbackNode&>(self);
    // Its runtime may have ended before the future was set.
    if (!core.word.done() || !try_launch_callback(node, core)) discard_later(*node.callback);
    delete &node;
}

}  // namespace

CallbackId add_callback(Core& core, TaskCore& callback, CoreRef* slot) {
    callback.is_callback = true;
    rt::Scheduler* home = current_scheduler();
    if (home == nullptr && core.kind == CoreKind::task)
        home = static_cast<TaskCore&>(core).scheduler;
    if (home == nullptr) {
        discard_unlaunched(callback);
        throw UsageError("add_done_callback: no running runtime to call it in");
    }
    callback.context = context_snapshot(current_context());
    auto* node = new (std::nothrow) CallbackNode;
    if (node == nullptr) {
        discard_unlaunched(callback);
        throw std::bad_alloc();
    }
    node->notify = launch_callback;
    node->callback = &callback;
    node->slot = slot;
    node->home = home_of(home);
    CallbackId id{node->id = next_callback_id()};
    if (add_joiner(core, *node)) return id;
    std::unique_ptr<CallbackNode> owned(node);
    if (try_launch_callback(*node, core)) return id;
    discard_unlaunched(callback);
    throw UsageError("add_done_callback: the runtime to call it in has ended");
}

std::size_t remove_callback(Core& core, CallbackId id) noexcept {
    auto is_it = [](const JoinNode& node, const void* wanted) {
        return node.notify == launch_callback && static_cast<const CallbackNode&>(node).id ==
                                                     static_cast<const CallbackId*>(wanted)->value;
    };
    std::unique_ptr<CallbackNode> node(static_cast<CallbackNode*>(take_joiner(core, is_it, &id)));
    if (node == nullptr) return 0;
    discard_unlaunched(*node->callback);
    return 1;
}

}  // namespace detail

bool AnyTask::done() const noexcept { return core_ && core_->word.done(); }

bool AnyTask::cancelled() const noexcept {
    return done() && core_->outcome == detail::Outcome::cancelled;
}

void AnyTask::throw_empty() { throw InvalidStateError("this task handle is empty"); }

std::exception_ptr AnyTask::exception() const { return detail::read_exception(task()); }

bool AnyTask::cancel(const std::string& message) const {
    return detail::cancel_or_ignore(task(), message);
}
int AnyTask::uncancel() const { return detail::uncancel_task(task()); }
int AnyTask::cancelling() const { return detail::cancel_state(task()).requests; }
std::string AnyTask::get_name() const { return detail::name_of(task()); }

void AnyTask::set_name(const std::string& name) const {
    detail::TaskCore& core = task();
    auto extra = std::make_unique<detail::TaskExtra>();
    std::lock_guard guard(core.lock);
    if (core.extra == nullptr) core.extra = extra.release();
    core.extra->name = name;
}

void await(const AnyTask& task) {
    detail::await_core(task.core_or_throw());
    detail::rethrow_failure(*task.core());
}

AnyTask current_task() {
    detail::TaskCore* core = detail::current_task();
    // One that has ended is about to be destroyed, and its value's destructor or its error's handler may ask.
    if (core == nullptr || core->is_callback || core->word.done()) return {};
    return AnyTask(detail::CoreRef::share(*core));
}

}  // namespace weft
