// What the files for test_taskgroups.py share; the cases of one class lie in two of them.
#pragma once

#include <stdexcept>

#include "conformance/support.hpp"

namespace weft::test {

class TestTaskGroup : public Everywhere {};

namespace groups {

/// The texts of a group's members, in order; those of a nested group in parentheses.
inline std::string texts_of(const ExceptionGroup& group) {
    std::string texts;
    for (const std::exception_ptr& error : group.exceptions()) {
        if (!texts.empty()) texts += ", ";
        try {
            std::rethrow_exception(error);
        } catch (const ExceptionGroup& nested) {
            texts += "(" + texts_of(nested) + ")";
        } catch (const std::exception& e) {
            texts += e.what();
        } catch (const CancelledError&) {
            texts += "cancelled";
        } catch (...) {
            texts += "foreign";
        }
    }
    return texts;
}

/// What the group that f throws has, or what came instead of one.
template <class F>
std::string group_of(F&& f) {
    try {
        std::forward<F>(f)();
    } catch (const ExceptionGroup& group) {
        return texts_of(group);
    } catch (const std::exception& e) {
        return std::string("bare: ") + e.what();
    } catch (const CancelledError&) {
        return "cancelled";
    }
    return "no error";
}

inline auto fail_after(Duration delay, const std::string& text) {
    return [delay, text] {
        weft::sleep(delay);
        throw std::runtime_error(text);
    };
}

inline auto value_after(Duration delay, int value) {
    return [delay, value] {
        weft::sleep(delay);
        return value;
    };
}

/// Waits until it is cancelled, and answers with an error.
inline auto fail_when_cancelled(const std::string& text) {
    return [text] {
        try {
            wait_for_ever();
        } catch (const CancelledError&) {
            throw std::runtime_error(text);
        }
    };
}

/// Waits until it is cancelled, counts that, and goes on with it.
inline auto count_cancels(int& count, int by = 1) {
    return [&count, by] {
        try {
            wait_for_ever();
        } catch (const CancelledError&) {
            count += by;
            throw;
        }
    };
}

}  // namespace groups

}  // namespace weft::test
