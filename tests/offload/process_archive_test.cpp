// The archive: what travels arrives as it was, what must not travel does not compile, and no bytes
// whatever make reading do anything but end.
#include <weft/archive.hpp>

#include <chrono>
#include <complex>
#include <deque>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>

namespace {

using weft::ArchiveError;
using weft::InputArchive;
using weft::OutputArchive;
using weft::Serializable;

struct Point {
    int x = 0;
    double y = 0;
    bool operator==(const Point&) const = default;
};
struct HoldsPointer {
    int length;
    const char* text;
};
struct HoldsOptional {
    std::optional<int> value;
    bool operator==(const HoldsOptional&) const = default;
};
struct NeedsAnInt {
    constexpr explicit NeedsAnInt(int v) : value(v) {}
    int value;
    bool operator==(const NeedsAnInt&) const = default;
};
struct Polymorphic {
    virtual ~Polymorphic() = default;
};
enum class Color : std::uint8_t { red, green };

}  // namespace

template <>
inline constexpr bool weft::kSendAsBytes<HoldsOptional> = true;

namespace {

template <class... T>
constexpr bool kAllTravel = (Serializable<T> && ...);
template <class... T>
constexpr bool kNoneTravels = (!Serializable<T> && ...);

static_assert(kAllTravel<int, bool, double, long double, Color, Point, std::byte, std::monostate,
                         std::chrono::seconds, std::chrono::system_clock::time_point,
                         std::complex<double>, NeedsAnInt, HoldsOptional>);
static_assert(
    kAllTravel<std::string, std::wstring, std::vector<int>, std::vector<bool>,
               std::vector<std::string>, std::deque<Point>, std::list<std::string>,
               std::map<std::string, std::vector<Point>>, std::multimap<int, int>,
               std::unordered_map<int, std::string>, std::set<std::string>, std::vector<NeedsAnInt>,
               std::array<std::string, 3>, std::array<int, 0>, std::array<NeedsAnInt, 2>>);
static_assert(kAllTravel<std::optional<std::string>, std::variant<std::monostate, int, std::string>,
                         std::tuple<>, std::tuple<int, std::string>, std::pair<int, Point>,
                         std::unique_ptr<int>, std::vector<std::unique_ptr<Point>>>);
static_assert(kNoneTravels<void, int*, int&, const int, int[3], int (*)(), int Point::*,
                           std::nullptr_t, HoldsPointer, Polymorphic>);
static_assert(kNoneTravels<std::string_view, std::span<int>, std::reference_wrapper<int>,
                           std::error_code, std::function<void()>, std::shared_ptr<int>,
                           std::unique_ptr<int[]>, std::unique_ptr<Polymorphic>>);
static_assert(
    kNoneTravels<std::vector<int*>, std::optional<const char*>, std::map<int, HoldsPointer>,
                 std::tuple<int, int*>, std::variant<int, int*>, std::pair<int*, int>,
                 std::array<int*, 2>, std::vector<std::vector<std::string_view>>>);

template <class T>
std::vector<std::byte> bytes_of(const T& value) {
    OutputArchive out;
    out.write(value);
    return {out.bytes().begin(), out.bytes().end()};
}

template <class T>
T read_whole(std::span<const std::byte> bytes) {
    InputArchive in(bytes);
    T value = in.read<T>();
    in.finish();
    return value;
}

template <class T>
void expect_arrives(const T& value) {
    EXPECT_TRUE(read_whole<T>(bytes_of(value)) == value);
}

TEST(Archive, EachKindOfValueArrivesAsItWas) {
    expect_arrives(42);
    expect_arrives(true);
    expect_arrives(Color::green);
    expect_arrives(Point{1, 2.5});
    expect_arrives(NeedsAnInt(7));
    expect_arrives(HoldsOptional{3});
    expect_arrives(std::numeric_limits<long double>::max());
    expect_arrives(std::string("text\0with zero", 14));
    expect_arrives(std::string(100'000, 'x'));
    expect_arrives(std::vector<bool>{true, false, true});
    expect_arrives(std::vector<Point>{{1, 2}, {3, 4}});
    expect_arrives(std::deque<std::string>{"a", "", "c"});
    expect_arrives(std::map<std::string, std::vector<double>>{{"a", {1, 2}}, {"", {}}});
    expect_arrives(std::multimap<int, int>{{1, 1}, {1, 2}});
    expect_arrives(std::unordered_map<int, std::set<std::string>>{{4, {"q", "r"}}, {5, {}}});
    expect_arrives(std::array<std::string, 2>{"a", "b"});
    expect_arrives(std::array<int, 0>{});
    expect_arrives(std::array<NeedsAnInt, 2>{NeedsAnInt(1), NeedsAnInt(2)});
    expect_arrives(std::tuple<>{});
    expect_arrives(std::tuple<int, std::string, std::optional<std::string>>{1, "x", std::nullopt});
    expect_arrives(std::variant<std::monostate, int, std::string>("z"));
    expect_arrives(std::pair<std::string, bool>{"k", false});
    expect_arrives(std::chrono::milliseconds(12));
}

TEST(Archive, AUniquePointerArrivesWithWhatItOwns) {
    auto arrived = read_whole<std::vector<std::unique_ptr<std::string>>>([] {
        std::vector<std::unique_ptr<std::string>> sent;
        sent.push_back(std::make_unique<std::string>("owned"));
        sent.push_back(nullptr);
        return bytes_of(sent);
    }());
    ASSERT_EQ(arrived.size(), 2U);
    EXPECT_EQ(*arrived[0], "owned");
    EXPECT_EQ(arrived[1], nullptr);
}

TEST(Archive, AValueBeyondTheLimitIsRefusedAndNotCut) {
    OutputArchive out(1000);
    out.write(std::string(900, 'x'));
    EXPECT_THROW(out.write(std::string(100, 'x')), ArchiveError);
}

TEST(Archive, AValuelessVariantIsRefused) {
    struct Throws {
        operator std::string() { throw 1; }
    };
    std::variant<int, std::deque<std::string>> value;
    Throws items[1];
    EXPECT_THROW(value.emplace<1>(std::begin(items), std::end(items)), int);
    ASSERT_TRUE(value.valueless_by_exception());
    OutputArchive out;
    EXPECT_THROW(out.write(value), ArchiveError);
}

TEST(Archive, ALengthWithoutItsBytesAsksForNoMemory) {
    for (std::uint64_t length : {std::uint64_t{1} << 40, ~std::uint64_t{0}, std::uint64_t{100}}) {
        OutputArchive out;
        out.write_size(length);
        EXPECT_THROW(read_whole<std::string>(out.bytes()), ArchiveError);
        EXPECT_THROW(read_whole<std::vector<double>>(out.bytes()), ArchiveError);
        EXPECT_THROW(read_whole<std::vector<std::string>>(out.bytes()), ArchiveError);
        EXPECT_THROW((read_whole<std::map<int, int>>(out.bytes())), ArchiveError);
        EXPECT_THROW(read_whole<std::set<std::string>>(out.bytes()), ArchiveError);
    }
}

TEST(Archive, BytesThatAreNoBoolNoAlternativeAndNoNumberAreRefused) {
    auto two = std::byte{2};
    EXPECT_THROW(read_whole<bool>(std::span(&two, 1)), ArchiveError);
    EXPECT_THROW(read_whole<std::optional<int>>(std::span(&two, 1)), ArchiveError);
    EXPECT_THROW((read_whole<std::variant<bool, char>>(std::span(&two, 1))), ArchiveError);
    std::vector<std::byte> endless(20, std::byte{0xff});
    EXPECT_THROW(read_whole<std::string>(endless), ArchiveError);
}

TEST(Archive, BytesLeftOverAreRefused) {
    auto bytes = bytes_of(std::string("abc"));
    bytes.push_back(std::byte{0});
    EXPECT_THROW(read_whole<std::string>(bytes), ArchiveError);
}

TEST(Archive, NestingBeyondTheLimitIsRefusedOnBothSides) {
    weft::NestingDepth depth;
    int entered = 0;
    try {
        for (;; ++entered) depth.enter();
    } catch (const ArchiveError&) {
    }
    EXPECT_EQ(entered, 256);
}

using Everything =
    std::tuple<std::string, std::map<std::string, std::vector<std::optional<int>>>,
               std::vector<std::variant<std::monostate, bool, std::string, Point>>,
               std::unique_ptr<std::vector<std::string>>, std::array<std::pair<int, bool>, 3>,
               std::unordered_map<int, std::set<std::string>>, std::deque<std::vector<bool>>>;

Everything example() {
    Everything all;
    std::get<0>(all) = "some text";
    std::get<1>(all) = {{"one", {1, std::nullopt, 3}}, {"two", {}}};
    std::get<2>(all) = {std::monostate{}, true, std::string("alternative"), Point{1, 2}};
    std::get<3>(all) = std::make_unique<std::vector<std::string>>(2, "item");
    std::get<4>(all) = {std::pair{1, true}, std::pair{2, false}, std::pair{3, true}};
    std::get<5>(all)[1].insert("x");
    std::get<5>(all)[2];
    std::get<6>(all) = {std::vector<bool>{true, false}, std::vector<bool>{}};
    return all;
}

/// Reads, and accepts either end of it.
void read_any(std::span<const std::byte> bytes) {
    try {
        read_whole<Everything>(bytes);
    } catch (const ArchiveError&) {
    }
}

TEST(Archive, EachShorterFormOfAMessageIsRefused) {
    auto bytes = bytes_of(example());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_THROW(read_whole<Everything>(std::span(bytes).first(size)), ArchiveError) << size;
    }
}

TEST(Archive, ChangedMessagesEndInAValueOrAnArchiveError) {
    const auto bytes = bytes_of(example());
    std::mt19937 random(1);
    for (int round = 0; round < 50'000; ++round) {
        auto changed = bytes;
        for (unsigned count = 1 + random() % 4; count > 0; --count) {
            changed[random() % changed.size()] = std::byte(random());
        }
        if (random() % 4 == 0) changed.resize(random() % changed.size());
        read_any(changed);
    }
}

TEST(Archive, GarbageEndsInAValueOrAnArchiveError) {
    std::mt19937 random(2);
    for (int round = 0; round < 50'000; ++round) {
        std::vector<std::byte> garbage(random() % 64);
        for (std::byte& byte : garbage) byte = std::byte(random());
        read_any(garbage);
    }
}

}  // namespace
