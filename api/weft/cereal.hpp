// Types with cereal's serialize(), save()/load() or their free forms travel to other processes:
// include this header (and have cereal installed) wherever such a type is an argument or a result
// of to_process().
//
//     struct Job {
//         std::string name;
//         std::vector<double> points;
//         template <class Archive>
//         void serialize(Archive& archive) { archive(name, points); }
//     };
//     double sum = weft::to_process([](Job job) { ... }, job);
//
// What cereal offers inside of serialize() is there: std's containers, class versions, shared and
// polymorphic pointers (cereal/types/polymorphic.hpp knows these archives). The bytes are weft's:
// fixed-size, native, no names.
//
// Invariant: as for weft::InputArchive, no bytes make reading ask for more elements than there are
// bytes left. A type that <weft/archive.hpp> can send by itself is sent that way, cereal or not, so
// that a program whose parts differ in what they include still agrees on each type's form.
#pragma once

#include <weft/archive.hpp>
#include <weft/shared_buffer.hpp>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <cereal/cereal.hpp>
#include <cereal/types/array.hpp>
#include <cereal/types/chrono.hpp>
#include <cereal/types/deque.hpp>
#include <cereal/types/list.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/memory.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/polymorphic.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/unordered_set.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>

namespace weft {

/// cereal's side of a weft::OutputArchive.
class CerealOutput : public cereal::OutputArchive<CerealOutput, cereal::AllowEmptyClassElision> {
public:
    explicit CerealOutput(weft::OutputArchive& out)
        : cereal::OutputArchive<CerealOutput, cereal::AllowEmptyClassElision>(this), out_(out) {}

    void write_bytes(const void* bytes, std::size_t size) { out_.write_bytes(bytes, size); }
    void write_size(std::uint64_t size) { out_.write_size(size); }
    weft::OutputArchive& archive() { return out_; }
    NestingDepth& depth() { return depth_; }

private:
    weft::OutputArchive& out_;
    NestingDepth depth_;
};

/// cereal's side of a weft::InputArchive.
class CerealInput : public cereal::InputArchive<CerealInput, cereal::AllowEmptyClassElision> {
public:
    explicit CerealInput(weft::InputArchive& in)
        : cereal::InputArchive<CerealInput, cereal::AllowEmptyClassElision>(this), in_(in) {}

    void read_bytes(void* into, std::size_t size) { in_.read_bytes(into, size); }
    std::size_t read_size() { return in_.read_size(); }
    weft::InputArchive& archive() { return in_; }
    NestingDepth& depth() { return depth_; }

private:
    weft::InputArchive& in_;
    NestingDepth depth_;
};

// Called by cereal around each value: a type that holds itself behind a pointer must not recurse
// without end.

template <class T>
void prologue(CerealOutput& archive, const T&) {
    archive.depth().enter();
}
template <class T>
void epilogue(CerealOutput& archive, const T&) {
    archive.depth().leave();
}
template <class T>
void prologue(CerealInput& archive, const T&) {
    archive.depth().enter();
}
template <class T>
void epilogue(CerealInput& archive, const T&) {
    archive.depth().leave();
}

// What cereal looks up to write its basic things: numbers, blocks of them, sizes, and named values,
// whose names go.

template <class T>
    requires std::is_arithmetic_v<T>
void CEREAL_SAVE_FUNCTION_NAME(CerealOutput& archive, const T& value) {
    archive.write_bytes(&value, sizeof value);
}
template <class T>
    requires std::is_arithmetic_v<T>
void CEREAL_LOAD_FUNCTION_NAME(CerealInput& archive, T& value) {
    value = archive.archive().read<T>();
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(CerealOutput& archive, const cereal::BinaryData<T>& data) {
    archive.write_bytes(data.data, static_cast<std::size_t>(data.size));
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(CerealInput& archive, cereal::BinaryData<T>& data) {
    archive.read_bytes(data.data, static_cast<std::size_t>(data.size));
}

template <class T>
void CEREAL_SAVE_FUNCTION_NAME(CerealOutput& archive, const cereal::SizeTag<T>& tag) {
    archive.write_size(static_cast<std::uint64_t>(tag.size));
}
template <class T>
void CEREAL_LOAD_FUNCTION_NAME(CerealInput& archive, cereal::SizeTag<T>& tag) {
    tag.size = static_cast<std::remove_reference_t<decltype(tag.size)>>(archive.read_size());
}

template <class T>
void CEREAL_SERIALIZE_FUNCTION_NAME(CerealOutput& archive, cereal::NameValuePair<T>& pair) {
    archive(pair.value);
}
template <class T>
void CEREAL_SERIALIZE_FUNCTION_NAME(CerealInput& archive, cereal::NameValuePair<T>& pair) {
    archive(pair.value);
}

// A member that is a SharedBuffer goes beside the message, as an argument does.

inline void CEREAL_SAVE_FUNCTION_NAME(CerealOutput& archive, const SharedBuffer& buffer) {
    archive.archive().write(buffer);
}
inline void CEREAL_LOAD_FUNCTION_NAME(CerealInput& archive, SharedBuffer& buffer) {
    buffer = archive.archive().read<SharedBuffer>();
}

namespace detail {

template <class T>
concept CerealType = std::is_class_v<T> && !BuiltIn<T> && std::is_default_constructible_v<T> &&
                     cereal::traits::is_output_serializable<T, CerealOutput>::value &&
                     cereal::traits::is_input_serializable<T, CerealInput>::value;

}  // namespace detail

template <detail::CerealType T>
struct Codec<T> {
    static void write(OutputArchive& out, const T& value) {
        NestedValue nested(out);
        // So that a class without members takes its byte too, which read_size() counts on.
        Codec<bool>::write(out, true);
        CerealOutput archive(out);
        archive(value);
    }
    static T read(InputArchive& in) {
        NestedValue nested(in);
        if (!Codec<bool>::read(in)) InputArchive::throw_malformed("a value that cereal wrote");
        CerealInput archive(in);
        T value;
        archive(value);
        return value;
    }
};

}  // namespace weft

CEREAL_REGISTER_ARCHIVE(weft::CerealOutput)
CEREAL_REGISTER_ARCHIVE(weft::CerealInput)
CEREAL_SETUP_ARCHIVE_TRAITS(weft::CerealInput, weft::CerealOutput)
