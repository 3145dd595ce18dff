// The part of a URL behind the "?".
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace compute_server {

/// What a client has asked for cannot be: the text is for the client.
class BadQuery : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// name=value pairs. Each value is taken once, by name; what is left over is a mistake of the client's. The values here are
/// numbers and words, so there is no percent-decoding.
class Query {
public:
    /// BadQuery: a name without a value, or given twice.
    explicit Query(std::string_view text);

    /// BadQuery: not a number, or not within the bounds.
    std::int64_t integer(std::string_view name, std::int64_t otherwise, std::int64_t least,
                         std::int64_t most);
    double real(std::string_view name, double otherwise, double least, double most);
    /// One of these words. BadQuery: another one, or none.
    std::string_view word(std::string_view name, const std::vector<std::string_view>& words);
    /// BadQuery: there is something that nobody has asked for.
    void finish() const;

private:
    /// Its value; "" where it is not given.
    std::string_view take(std::string_view name);
    template <class T>
    T number(std::string_view name, T otherwise, T least, T most);

    std::vector<std::pair<std::string_view, std::string_view>> values_;
};

}  // namespace compute_server
