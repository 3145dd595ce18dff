// Context variables on their way to another process: which there are, what is written of those that
// are set, and what is read there.
#include <weft/detail/basic_errors.hpp>
#include <weft/detail/context_map.hpp>
#include <weft/detail/process_call.hpp>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

namespace weft::detail {

namespace {

struct Registry {
    std::mutex lock;
    std::vector<const SentContextVar*> all;  // guarded by lock
    std::atomic<std::size_t> size{0};        // of it, to be read without
};

/// Made by whichever static constructor comes first, and never destroyed.
Registry& registry() {
    static Registry* const made = new Registry;
    return *made;
}

}  // namespace

SentContextVar::SentContextVar(const char* name, std::uint64_t key, Write write, Read read)
    : name_(name), key_(key), write_(write), read_(read) {
    std::lock_guard guard(registry().lock);
    auto has_its_name = [&](const SentContextVar* other) { return other->name_ == name; };
    if (std::ranges::any_of(registry().all, has_its_name)) {
        throw std::invalid_argument("weft::ProcessContextVar: there is one called '" +
                                    std::string(name) + "' already");
    }
    registry().all.push_back(this);
    ++registry().size;
}

SentContextVar::~SentContextVar() {
    std::lock_guard guard(registry().lock);
    std::erase(registry().all, this);
    --registry().size;
}

void SentContextVar::write_all(OutputArchive& out) {
    struct Set {
        std::string name;
        Write write;
        std::shared_ptr<const void> value;
    };
    std::vector<Set> set;
    if (registry().size != 0 && current_context() != nullptr) {
        std::lock_guard guard(registry().lock);
        for (const SentContextVar* one : registry().all) {
            if (auto value = context_get(one->key_))
                set.push_back({one->name_, one->write_, value});
        }
    }
    out.write_size(set.size());
    // Not under the lock: how a value is written is its type's affair.
    for (const Set& one : set) {
        out.write(one.name);
        one.write(one.value.get(), out);
    }
}

void SentContextVar::read_all(InputArchive& in) {
    for (std::uint64_t left = in.read_size(); left > 0; --left) {
        auto name = Codec<std::string>::read(in);
        std::uint64_t key = 0;
        Read read = nullptr;
        {
            std::lock_guard guard(registry().lock);
            for (const SentContextVar* one : registry().all) {
                if (one->name_ != name) continue;
                key = one->key_;
                read = one->read_;
            }
        }
        if (read == nullptr) {
            throw UsageError("the worker process has no weft::ProcessContextVar '" + name +
                             "': make it at namespace scope, so that each process has it");
        }
        context_set(key, read(in));
    }
}

}  // namespace weft::detail
