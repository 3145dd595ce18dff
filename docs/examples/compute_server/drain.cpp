#include "drain.hpp"

namespace compute_server {

void Drain::begin() {
    std::lock_guard guard(mutex_);
    begun_ = true;
    for (Idler* idler : idlers_) {
        idler->cut_short = true;
        idler->task.cancel("the server ends");
    }
}

bool Drain::begun() const {
    std::lock_guard guard(mutex_);
    return begun_;
}

bool Drain::enter(Idler& idler) {
    std::lock_guard guard(mutex_);
    if (!begun_) idlers_.insert(&idler);
    return !begun_;
}

bool Drain::leave(Idler& idler) {
    std::lock_guard guard(mutex_);
    idlers_.erase(&idler);
    return idler.cut_short;
}

}  // namespace compute_server
