#include "graveyard.hpp"

#include <weft/detail/engine.hpp>

#include "completion.hpp"
#include "worker.hpp"

namespace weft::rt {

namespace {

[[gnu::noinline]] TaskCore*& graveyard_outside() noexcept {
    struct Holder {
        TaskCore* first = nullptr;
        ~Holder() { empty_graveyard(); }
    };
    thread_local Holder holder;
    asm volatile("" ::: "memory");
    return holder.first;
}

TaskCore*& graveyard() noexcept {
    Worker* worker = current_worker();
    return worker != nullptr ? worker->graveyard : graveyard_outside();
}

}  // namespace

void bury(TaskCore& dead) noexcept {
    TaskCore*& first = graveyard();
    dead.next = first;
    first = &dead;
}

void empty_graveyard() noexcept {
    // One at a time, with a fresh look: a destructor may bury, and this may be another thread after it.
    while (TaskCore* dead = graveyard()) {
        graveyard() = dead->next;
        if (dead->word.done())
            detail::destroy_core(*dead);
        else
            detail::discard_unlaunched(*dead);
    }
}

}  // namespace weft::rt

namespace weft::detail {

// Not simply freed: all_tasks() may be looking at the block, with a reference.
void discard_unlaunched(TaskCore& callback) noexcept {
    callback.ops->discard(callback);
    callback.outcome = Outcome::value;  // of no type: there is nothing to destroy
    rt::finish_task(callback);
    drop_ref(callback);
}

void discard_later(TaskCore& callback) noexcept { rt::bury(callback); }

void discard_now() noexcept {
    if (rt::current_worker() == nullptr) rt::empty_graveyard();
}

}  // namespace weft::detail
