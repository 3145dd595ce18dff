// Which types travel as they are, and how: the Codecs that <weft/archive.hpp> promises.
//
// First the shapes: what a type must look like to be taken for bytes, a sequence, a set or a map,
// by its interface and not by its name, so that no container's header is needed here and others'
// containers travel too. Then one Codec for each shape, and one for each of std's wrappers.
// Invariant: a Codec is there only if the parts' Codecs are, and each value takes at least one
// byte, which InputArchive::read_size() counts on.
// Thread rules: none.
#pragma once

#include <weft/archive.hpp>

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

namespace weft {

namespace detail {

template <class T>
inline constexpr bool kIsStdWrapper = false;
template <class T>
inline constexpr bool kIsStdWrapper<std::optional<T>> = true;
template <class... Ts>
inline constexpr bool kIsStdWrapper<std::variant<Ts...>> = true;
template <class... Ts>
inline constexpr bool kIsStdWrapper<std::tuple<Ts...>> = true;
template <class First, class Second>
inline constexpr bool kIsStdWrapper<std::pair<First, Second>> = true;
template <class T, std::size_t N>
inline constexpr bool kIsStdWrapper<std::array<T, N>> = true;
template <class T, class Deleter>
inline constexpr bool kIsStdWrapper<std::unique_ptr<T, Deleter>> = true;

/// Compile-time evaluation of larger types costs more than it finds.
inline constexpr std::size_t kInspectedBytesMax = 4096;

/// Whether a T can be made of bytes in a constant expression: the language forbids that for a type
/// with a pointer, a reference or a union anywhere inside. What it cannot be asked about: under g++
/// a pointer in an array in T, and a type without any constexpr constructor; those are taken on
/// trust. Under clang bit-fields and std::complex inside of T are refused.
template <class T>
concept MadeOfBytes =
#if !defined(__clang__)
    !__is_literal_type(T) ||
#endif
    requires {
        typename std::bool_constant<(
            static_cast<void>(__builtin_bit_cast(T, std::array<unsigned char, sizeof(T)>{})),
            true)>;
    };

/// std::error_code points at its category, which g++ does not see.
template <class T>
concept ErrorCode = requires(const T& value) { value.category(); };

template <class T>
concept ComplexNumber = requires(const T& value) {
    { value.real() } -> std::same_as<typename T::value_type>;
    { value.imag() } -> std::same_as<typename T::value_type>;
} && std::is_floating_point_v<typename T::value_type>;

template <class T>
concept PlainClass =
    (std::is_class_v<T> || std::is_union_v<T>) && !kIsStdWrapper<T> && !ErrorCode<T> &&
    (ComplexNumber<T> || sizeof(T) > kInspectedBytesMax || MadeOfBytes<T>);

/// Travels as its bytes.
template <class T>
concept Plain = std::is_trivially_copyable_v<T> &&
                (kSendAsBytes<T> || std::is_arithmetic_v<T> || std::is_enum_v<T> || PlainClass<T>);

/// Of any bytes of that size a value can be made (which is not so for bool).
template <class T>
concept PlainInBulk = Plain<T> && !std::same_as<T, bool>;

template <class T>
concept HasMemberSerialize =
    requires(T& value, OutputArchive& archive) { value.serialize(archive); };

template <class T>
concept Container = std::is_class_v<T> && !Plain<T> && !kIsStdWrapper<T> &&
                    !HasMemberSerialize<T> && std::is_default_constructible_v<T> &&
                    requires(T& values, const T& constant, typename T::value_type item) {
                        { constant.size() } -> std::convertible_to<std::size_t>;
                        constant.begin() != constant.end();
                        static_cast<const typename T::value_type&>(*constant.begin());
                    };

template <class T>
concept Sequence = Container<T> && requires(T& values, typename T::value_type item) {
    values.push_back(std::move(item));
};
template <class T>
concept Set = Container<T> && !requires { typename T::mapped_type; } &&
              requires(T& values, typename T::key_type item) {
                  values.insert(values.end(), std::move(item));
              };
template <class T>
concept Map =
    Container<T> && requires(T& values, typename T::key_type key, typename T::mapped_type item) {
        values.emplace_hint(values.end(), std::move(key), std::move(item));
    };

/// A sequence whose elements lie side by side and can be filled in place: one memcpy.
template <class T>
concept BulkSequence =
    Sequence<T> && PlainInBulk<typename T::value_type> &&
    std::is_default_constructible_v<typename T::value_type> && requires(T& values) {
        { values.data() } -> std::same_as<typename T::value_type*>;
        values.resize(std::size_t{});
    };

/// The types that this header gives a Codec; cereal's are the others, so that no type has two.
template <class T>
concept BuiltIn = Plain<T> || kIsStdWrapper<T> || Sequence<T> || Set<T> || Map<T>;

/// Not more than this is reserved on the word of a length alone; the rest as the elements really
/// come.
inline constexpr std::size_t kReservedBytesMax = 64 * 1024;

template <class T>
void reserve_some(T& values, std::size_t count) {
    if constexpr (requires { values.reserve(count); }) {
        constexpr std::size_t kItemsMax = kReservedBytesMax / sizeof(typename T::value_type);
        values.reserve(count < kItemsMax ? count : kItemsMax);
    }
}

}  // namespace detail

template <detail::Plain T>
struct Codec<T> {
    static void write(OutputArchive& out, const T& value) { out.write_bytes(&value, sizeof value); }
    static T read(InputArchive& in) {
        if constexpr (std::is_same_v<T, bool>) {
            unsigned char byte = 0;
            in.read_bytes(&byte, 1);
            if (byte > 1) InputArchive::throw_malformed("a bool that is neither true nor false");
            return byte == 1;
        } else if constexpr (std::is_default_constructible_v<T>) {
            T value;
            in.read_bytes(&value, sizeof value);
            return value;
        } else {
            std::array<std::byte, sizeof(T)> raw;
            in.read_bytes(raw.data(), raw.size());
            return std::bit_cast<T>(raw);
        }
    }
};

template <detail::Sequence T>
    requires Serializable<typename T::value_type>
struct Codec<T> {
    using Item = typename T::value_type;

    static void write(OutputArchive& out, const T& values) {
        out.write_size(values.size());
        if constexpr (detail::BulkSequence<T>) {
            out.write_bytes(values.data(), values.size() * sizeof(Item));
        } else {
            for (const Item& item : values) Codec<Item>::write(out, item);
        }
    }
    static T read(InputArchive& in) {
        T values;
        if constexpr (detail::BulkSequence<T>) {
            values.resize(in.read_size(sizeof(Item)));
            in.read_bytes(values.data(), values.size() * sizeof(Item));
        } else {
            std::size_t count = in.read_size();
            detail::reserve_some(values, count);
            for (; count > 0; --count) values.push_back(Codec<Item>::read(in));
        }
        return values;
    }
};

template <detail::Set T>
    requires Serializable<typename T::key_type>
struct Codec<T> {
    using Item = typename T::key_type;

    static void write(OutputArchive& out, const T& values) {
        out.write_size(values.size());
        for (const Item& item : values) Codec<Item>::write(out, item);
    }
    static T read(InputArchive& in) {
        T values;
        std::size_t count = in.read_size();
        detail::reserve_some(values, count);
        for (; count > 0; --count) values.insert(values.end(), Codec<Item>::read(in));
        return values;
    }
};

template <detail::Map T>
    requires Serializable<typename T::key_type> && Serializable<typename T::mapped_type>
struct Codec<T> {
    using Key = typename T::key_type;
    using Item = typename T::mapped_type;

    static void write(OutputArchive& out, const T& values) {
        out.write_size(values.size());
        for (const auto& [key, item] : values) {
            Codec<Key>::write(out, key);
            Codec<Item>::write(out, item);
        }
    }
    static T read(InputArchive& in) {
        T values;
        std::size_t count = in.read_size();
        detail::reserve_some(values, count);
        for (; count > 0; --count) {
            Key key = Codec<Key>::read(in);
            values.emplace_hint(values.end(), std::move(key), Codec<Item>::read(in));
        }
        return values;
    }
};

template <Serializable T, std::size_t N>
struct Codec<std::array<T, N>> {
    static void write(OutputArchive& out, const std::array<T, N>& values) {
        if constexpr (N == 0) {
            out.write_size(0);
        } else if constexpr (detail::PlainInBulk<T>) {
            out.write_bytes(values.data(), sizeof values);
        } else {
            for (const T& item : values) Codec<T>::write(out, item);
        }
    }
    static std::array<T, N> read(InputArchive& in) {
        if constexpr (N == 0) {
            in.read_size();
            return {};
        } else if constexpr (std::is_default_constructible_v<T>) {
            std::array<T, N> values;
            if constexpr (detail::PlainInBulk<T>) {
                in.read_bytes(values.data(), sizeof values);
            } else {
                for (T& item : values) item = Codec<T>::read(in);
            }
            return values;
        } else {
            return [&]<std::size_t... I>(std::index_sequence<I...>) {
                return std::array<T, N>{(static_cast<void>(I), Codec<T>::read(in))...};
            }(std::make_index_sequence<N>{});
        }
    }
};

template <Serializable T>
struct Codec<std::optional<T>> {
    static void write(OutputArchive& out, const std::optional<T>& value) {
        Codec<bool>::write(out, value.has_value());
        if (value.has_value()) Codec<T>::write(out, *value);
    }
    static std::optional<T> read(InputArchive& in) {
        if (!Codec<bool>::read(in)) return std::nullopt;
        return std::optional<T>(Codec<T>::read(in));
    }
};

template <Serializable First, Serializable Second>
struct Codec<std::pair<First, Second>> {
    static void write(OutputArchive& out, const std::pair<First, Second>& value) {
        Codec<First>::write(out, value.first);
        Codec<Second>::write(out, value.second);
    }
    static std::pair<First, Second> read(InputArchive& in) {
        // Braces: from left to right.
        return std::pair<First, Second>{Codec<First>::read(in), Codec<Second>::read(in)};
    }
};

template <Serializable... Ts>
struct Codec<std::tuple<Ts...>> {
    static void write(OutputArchive& out, const std::tuple<Ts...>& value) {
        if constexpr (sizeof...(Ts) == 0) {
            out.write_size(0);
        } else {
            std::apply([&](const Ts&... item) { (Codec<Ts>::write(out, item), ...); }, value);
        }
    }
    static std::tuple<Ts...> read(InputArchive& in) {
        if constexpr (sizeof...(Ts) == 0) in.read_size();
        return std::tuple<Ts...>{Codec<Ts>::read(in)...};
    }
};

template <Serializable... Ts>
struct Codec<std::variant<Ts...>> {
    using Value = std::variant<Ts...>;

    static void write(OutputArchive& out, const Value& value) {
        if (value.valueless_by_exception()) {
            throw ArchiveError("weft: a std::variant without a value cannot be sent");
        }
        out.write_size(value.index());
        std::visit([&]<class T>(const T& item) { Codec<T>::write(out, item); }, value);
    }
    static Value read(InputArchive& in) { return read_alternative<0>(in, in.read_number()); }

private:
    template <std::size_t I>
    static Value read_alternative(InputArchive& in, std::uint64_t index) {
        if constexpr (I == sizeof...(Ts)) {
            InputArchive::throw_malformed("a variant's alternative that there is not");
        } else {
            if (index != I) return read_alternative<I + 1>(in, index);
            return Value(std::in_place_index<I>,
                         Codec<std::variant_alternative_t<I, Value>>::read(in));
        }
    }
};

/// A pointer to a base would lose what is derived from it, so the type may not be a polymorphic
/// one.
template <Serializable T>
    requires(!std::is_polymorphic_v<T>)
struct Codec<std::unique_ptr<T>> {
    static void write(OutputArchive& out, const std::unique_ptr<T>& value) {
        NestedValue nested(out);
        Codec<bool>::write(out, value != nullptr);
        if (value != nullptr) Codec<T>::write(out, *value);
    }
    static std::unique_ptr<T> read(InputArchive& in) {
        NestedValue nested(in);
        if (!Codec<bool>::read(in)) return nullptr;
        return std::make_unique<T>(Codec<T>::read(in));
    }
};

}  // namespace weft
