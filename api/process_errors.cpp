#include "process_errors.hpp"

#include <weft/process.hpp>

#include <algorithm>
#include <any>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <ios>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <typeinfo>
#include <variant>
#include <vector>

#include <cxxabi.h>

namespace weft::detail {

namespace {

constexpr std::size_t kLevelsMax = 16;

enum class Category : std::uint8_t { other, generic, system, iostream };

/// One exception of the chain.
struct Level {
    std::uint16_t row = 0;  // of the table below; its size: none of these
    Category category = Category::other;
    std::int32_t value = 0;
    std::string type;  // where `row` does not say it
    std::string text;  // what the exception is made of
    std::string path1;
    std::string path2;
};

const std::error_category* category_of(Category category) {
    switch (category) {
        case Category::generic:
            return &std::generic_category();
        case Category::system:
            return &std::system_category();
        case Category::iostream:
            return &std::iostream_category();
        case Category::other:
            return nullptr;
    }
    return nullptr;
}

/// What was given to a system_error beside the code: its what() is "TEXT: MESSAGE OF THE CODE".
std::string own_text(const std::system_error& error) {
    std::string_view what = error.std::system_error::what();
    std::string message = error.code().message();
    if (!what.ends_with(message)) return std::string(what);
    what.remove_suffix(message.size());
    if (what.ends_with(": ")) what.remove_suffix(2);
    return std::string(what);
}

template <class E>
E make(const Level& level) {
    if constexpr (std::is_base_of_v<std::system_error, E>) {
        std::error_code code(level.value, *category_of(level.category));
        if constexpr (std::is_same_v<E, std::filesystem::filesystem_error>) {
            if (level.path1.empty()) return E(level.text, code);
            if (level.path2.empty()) return E(level.text, level.path1, code);
            return E(level.text, level.path1, level.path2, code);
        } else if constexpr (std::is_same_v<E, std::ios_base::failure>) {
            return E(level.text, code);
        } else {
            return level.text.empty() ? E(code) : E(code, level.text);
        }
    } else if constexpr (std::is_same_v<E, std::future_error>) {
        return E(static_cast<std::future_errc>(level.value));
    } else if constexpr (std::is_constructible_v<E, const std::string&>) {
        return E(level.text);
    } else {
        return E();
    }
}

/// With the exception that is being handled nested in it, if there is one.
template <class E>
[[noreturn]] void raise(E error) {
    if (std::current_exception() != nullptr) std::throw_with_nested(std::move(error));
    throw error;
}

struct Row {
    const std::type_info* plain;
    const std::type_info*
        nested;  // of the type that std::throw_with_nested makes, which has no name of its own
    void (*raise_like)(const Level& level);
};

template <class E>
Row make_row() {
    Level sample;
    sample.category = Category::generic;
    const std::type_info* nested = nullptr;
    try {
        std::throw_with_nested(make<E>(sample));
    } catch (const std::exception& error) {
        nested = &typeid(error);
    }
    return {&typeid(E), nested, [](const Level& level) { raise(make<E>(level)); }};
}

template <class... E>
std::vector<Row> make_rows() {
    return {make_row<E>()...};
}

/// Both processes run the same library, so a row's number says which.
const std::vector<Row>& rows() {
    static const std::vector<Row> table =
        make_rows<std::runtime_error, std::logic_error, std::invalid_argument, std::domain_error,
                  std::length_error, std::out_of_range, std::range_error, std::overflow_error,
                  std::underflow_error, std::system_error, std::filesystem::filesystem_error,
                  std::ios_base::failure, std::bad_alloc, std::bad_array_new_length, std::bad_cast,
                  std::bad_typeid, std::bad_exception, std::bad_optional_access,
                  std::bad_variant_access, std::bad_function_call, std::bad_weak_ptr,
                  std::exception, ArchiveError, std::bad_any_cast, std::future_error>();
    return table;
}

std::uint16_t row_of(const std::type_info& type) {
    auto found = std::ranges::find_if(
        rows(), [&](const Row& row) { return *row.plain == type || *row.nested == type; });
    return static_cast<std::uint16_t>(found - rows().begin());
}

std::string name_of(const std::type_info& type) {
    int status = 0;
    std::unique_ptr<char, decltype(&std::free)> text(
        abi::__cxa_demangle(type.name(), nullptr, nullptr, &status), &std::free);
    std::string name = status == 0 ? text.get() : type.name();
    // What throw_with_nested() wraps around, in libstdc++ and in libc++.
    for (std::string_view wrapper : {"std::_Nested_exception<", "std::__1::__nested<"}) {
        if (name.starts_with(wrapper) && name.ends_with('>')) {
            name = name.substr(wrapper.size(), name.size() - wrapper.size() - 1);
        }
    }
    return name;
}

void describe(const std::exception& error, Level& level) {
    level.row = row_of(typeid(error));
    level.text = error.what();
    if (const auto* system = dynamic_cast<const std::system_error*>(&error)) {
        for (Category category : {Category::generic, Category::system, Category::iostream}) {
            if (system->code().category() == *category_of(category)) level.category = category;
        }
        level.value = system->code().value();
        if (level.category == Category::other) {
            level.row = static_cast<std::uint16_t>(rows().size());
        } else if (level.row < rows().size()) {
            level.text = own_text(*system);
        }
    }
    if (const auto* future = dynamic_cast<const std::future_error*>(&error)) {
        level.value = future->code().value();
    }
    if (const auto* file = dynamic_cast<const std::filesystem::filesystem_error*>(&error)) {
        level.path1 = file->path1().string();
        level.path2 = file->path2().string();
    }
    if (level.row == rows().size()) level.type = name_of(typeid(error));
}

/// Describes the outermost exception; returns the one that is nested in it, or null.
std::exception_ptr describe(const std::exception_ptr& error, Level& level) {
    level.row = static_cast<std::uint16_t>(rows().size());
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& caught) {
        describe(caught, level);
        const auto* nested = dynamic_cast<const std::nested_exception*>(&caught);
        return nested != nullptr ? nested->nested_ptr() : nullptr;
    } catch (const CancelledError& caught) {
        level.type = name_of(typeid(CancelledError));
        level.text = caught.message();
    } catch (const std::nested_exception& caught) {
        level.type = name_of(*abi::__cxa_current_exception_type());
        return caught.nested_ptr();
    } catch (...) {
        level.type = name_of(*abi::__cxa_current_exception_type());
    }
    return nullptr;
}

void write_text(OutputArchive& out, std::string_view text) {
    std::size_t written = out.bytes().size();
    // Some room is left for the numbers and the marks of the levels that follow.
    std::size_t room = kExceptionBytesMax - std::min(kExceptionBytesMax, written + kLevelsMax * 64);
    out.write(std::string(text.substr(0, room)));
}

Level read_level(InputArchive& in) {
    Level level;
    level.row = in.read<std::uint16_t>();
    level.category = in.read<Category>();
    level.value = in.read<std::int32_t>();
    for (std::string* text : {&level.type, &level.text, &level.path1, &level.path2}) {
        *text = in.read<std::string>();
    }
    if (level.row > rows().size()) InputArchive::throw_malformed("an unknown kind of exception");
    return level;
}

void raise_like(const Level& level) {
    // The category is looked at for errors that have one; a number that is none has come from a
    // stray pointer.
    if (level.row < rows().size() && category_of(level.category) == nullptr) {
        Level safe = level;
        safe.category = Category::generic;
        rows()[level.row].raise_like(safe);
    }
    if (level.row < rows().size()) rows()[level.row].raise_like(level);
    raise(RemoteError(level.type, level.text));
}

}  // namespace

void write_failure_of_step(OutputArchive& out) {
    Level level;
    describe(std::current_exception(), level);
    std::string type = level.row < rows().size() ? name_of(*rows()[level.row].plain) : level.type;
    std::string text =
        level.text.empty() ? "it threw " + type : "it threw " + type + ": " + level.text;
    out.write_bytes(text.data(), std::min<std::size_t>(text.size(), 1000));
}

void write_exception(const std::exception_ptr& error, OutputArchive& out) {
    std::vector<Level> levels;
    for (std::exception_ptr at = error; at != nullptr && levels.size() < kLevelsMax;) {
        at = describe(at, levels.emplace_back());
    }
    out.write_size(levels.size());
    for (const Level& level : levels) {
        out.write(level.row);
        out.write(level.category);
        out.write(level.value);
        for (const std::string* text : {&level.type, &level.text, &level.path1, &level.path2}) {
            write_text(out, *text);
        }
    }
}

std::exception_ptr read_exception(InputArchive& in) {
    std::vector<Level> levels;
    for (std::size_t count = in.read_size(); count > 0; --count) levels.push_back(read_level(in));
    in.finish();
    std::exception_ptr built;
    for (auto level = levels.rbegin(); level != levels.rend(); ++level) {
        try {
            if (built == nullptr) raise_like(*level);
            try {
                std::rethrow_exception(built);
            } catch (...) {
                raise_like(*level);
            }
        } catch (...) {
            built = std::current_exception();
        }
    }
    if (built == nullptr) InputArchive::throw_malformed("an exception of which nothing is told");
    return built;
}

}  // namespace weft::detail
