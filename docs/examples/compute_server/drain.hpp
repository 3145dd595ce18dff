// The end of a server that lets its clients finish: those who wait for their client's next word stop waiting, and those who
// work on an answer are left alone.
#pragma once

#include <weft/task.hpp>

#include <mutex>
#include <unordered_set>
#include <utility>

namespace compute_server {

class Drain {
public:
    /// Runs wait(), in which the task does nothing but wait for its client. False: the server drains, and the wait was cut
    /// short or not begun.
    template <class F>
    bool idle(F&& wait) {
        Idler self;
        if (!enter(self)) return false;
        try {
            std::forward<F>(wait)();
        } catch (const weft::CancelledError&) {
            // A cancel that is not ours may have come as well.
            if (!leave(self) || self.task.uncancel() != 0) throw;
            return false;
        } catch (...) {
            if (leave(self)) self.task.uncancel();
            throw;
        }
        // The client's word may have come first: then it is answered.
        if (leave(self)) self.task.uncancel();
        return true;
    }
    /// Any task.
    void begin();
    bool begun() const;

private:
    struct Idler {
        weft::AnyTask task = weft::current_task();
        bool cut_short = false;
    };
    bool enter(Idler& idler);
    /// Whether begin() has cancelled it; from now on it will not.
    bool leave(Idler& idler);

    mutable std::mutex mutex_;
    bool begun_ = false;
    std::unordered_set<Idler*> idlers_;
};

}  // namespace compute_server
