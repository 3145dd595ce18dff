#include <weft/context_var.hpp>
#include <weft/detail/basic_errors.hpp>

namespace weft {

namespace detail {

void check_token_unused(bool used, const char* name) {
    if (used)
        throw UsageError("context variable '" + std::string(name) +
                         "': this token has been used already");
}

}  // namespace detail

Context::Context() : handle_(detail::context_of_box(new detail::ContextBox)) {}
Context::Context(const Context& other) noexcept : handle_(detail::context_retain(other.handle_)) {}
Context::Context(Context&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
Context& Context::operator=(Context other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
}
Context::~Context() { detail::context_release(handle_); }

Context copy_context() {
    auto box = std::make_unique<detail::ContextBox>();
    box->map.store(
        static_cast<detail::ContextMap*>(detail::context_snapshot(detail::current_context())));
    Context copy;
    detail::context_release(copy.handle_);
    copy.handle_ = detail::context_of_box(box.release());
    return copy;
}

Context::Entered::Entered(const Context& context) noexcept
    : before(detail::exchange_context(detail::context_retain(context.handle_))) {}

Context::Entered::~Entered() { detail::context_release(detail::exchange_context(before)); }

}  // namespace weft
