#include "query.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace compute_server {

namespace {

/// Numbers as people write them: std::to_string would make 1e-07 a 0.000000.
template <class T>
std::string text_of(T number) {
    char text[40];
    auto [end, error] = std::to_chars(std::begin(text), std::end(text), number);
    return error == std::errc() ? std::string(text, end) : std::string();
}

}  // namespace

Query::Query(std::string_view text) {
    while (!text.empty()) {
        std::string_view pair = text.substr(0, text.find('&'));
        text.remove_prefix(std::min(text.size(), pair.size() + 1));
        std::size_t equals = pair.find('=');
        if (equals == 0 || equals == std::string_view::npos || equals + 1 == pair.size())
            throw BadQuery("the query must be name=value&name=value");
        std::string_view name = pair.substr(0, equals);
        if (!take(name).empty()) throw BadQuery("the query has a name twice");
        values_.emplace_back(name, pair.substr(equals + 1));
    }
}

std::string_view Query::take(std::string_view name) {
    auto found =
        std::find_if(values_.begin(), values_.end(), [&](auto& v) { return v.first == name; });
    if (found == values_.end()) return {};
    std::string_view value = found->second;
    values_.erase(found);
    return value;
}

template <class T>
T Query::number(std::string_view name, T otherwise, T least, T most) {
    std::string_view text = take(name);
    if (text.empty()) return otherwise;
    T value{};
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    bool good = error == std::errc() && end == text.data() + text.size();
    // So that a NaN is refused too.
    if (!good || !(value >= least && value <= most))
        throw BadQuery(std::string(name) + " must be a number from " + text_of(least) + " to " +
                       text_of(most));
    return value;
}

std::int64_t Query::integer(std::string_view name, std::int64_t otherwise, std::int64_t least,
                            std::int64_t most) {
    return number<std::int64_t>(name, otherwise, least, most);
}

double Query::real(std::string_view name, double otherwise, double least, double most) {
    return number<double>(name, otherwise, least, most);
}

std::string_view Query::word(std::string_view name, const std::vector<std::string_view>& words) {
    std::string_view value = take(name);
    if (std::find(words.begin(), words.end(), value) != words.end()) return value;
    std::string message = std::string(name) + " must be one of";
    for (std::string_view word : words) message += " " + std::string(word);
    throw BadQuery(message);
}

void Query::finish() const {
    if (!values_.empty()) throw BadQuery("the query has a name that this path does not know");
}

}  // namespace compute_server
