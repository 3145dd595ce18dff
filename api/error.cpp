#include <weft/error.hpp>

namespace weft {

namespace {

std::string with_count(const std::string& message, std::size_t n) {
    return message + " (" + std::to_string(n) + (n == 1 ? " sub-exception)" : " sub-exceptions)");
}

const ExceptionGroup* as_group(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const ExceptionGroup& group) {
        // The object lives as long as `error` does, which the caller's group holds.
        return &group;
    } catch (...) {
        return nullptr;
    }
}

std::optional<ExceptionGroup> group_of(const std::string& message,
                                       std::vector<std::exception_ptr> errors) {
    if (errors.empty()) return std::nullopt;
    return ExceptionGroup(message, std::move(errors));
}

}  // namespace

IncompleteReadError::IncompleteReadError(std::string partial, std::optional<std::size_t> expected)
    : Error("the stream ended after " + std::to_string(partial.size()) + " bytes" +
            (expected ? " of " + std::to_string(*expected) : ", before a separator")),
      partial_(std::move(partial)),
      expected_(expected) {}

ExceptionGroup::ExceptionGroup(const std::string& message,
                               std::vector<std::exception_ptr> exceptions)
    : Error(with_count(message, exceptions.size())),
      message_(message),
      exceptions_(std::move(exceptions)) {}

std::pair<std::optional<ExceptionGroup>, std::optional<ExceptionGroup>> ExceptionGroup::split_by(
    Matches matches) const {
    std::vector<std::exception_ptr> in;
    std::vector<std::exception_ptr> out;
    for (const std::exception_ptr& error : exceptions_) {
        if (matches(error)) {
            in.push_back(error);
        } else if (const ExceptionGroup* nested = as_group(error)) {
            auto [yes, no] = nested->split_by(matches);
            if (yes) in.push_back(std::make_exception_ptr(*yes));
            if (no) out.push_back(std::make_exception_ptr(*no));
        } else {
            out.push_back(error);
        }
    }
    return {group_of(message_, std::move(in)), group_of(message_, std::move(out))};
}

}  // namespace weft
