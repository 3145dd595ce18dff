// Tests named after CPython's cases. Of each class of a CPython file there is one fixture here of the same name.
#pragma once

#include "api/core_support.hpp"

/// On one, two and four workers and in strict mode, in virtual time.
#define WEFT_CONFORMS(file, Class)                                                           \
    class Class : public ::weft::test::Everywhere {};                                        \
    INSTANTIATE_TEST_SUITE_P(file, Class, ::testing::ValuesIn(::weft::test::kInVirtualTime), \
                             ::weft::test::name_of_where)

/// The same on real threads, for what makes a runtime of its own or leaves the fibers: Class_on_threads.
#define WEFT_CONFORMS_ON_THREADS(file, Class)                               \
    class Class##_on_threads : public ::weft::test::Everywhere {};          \
    INSTANTIATE_TEST_SUITE_P(file, Class##_on_threads,                      \
                             ::testing::ValuesIn(::weft::test::kOnThreads), \
                             ::weft::test::name_of_where)

/// What asyncio promises because it has one thread, in strict mode alone: Class_in_order.
#define WEFT_CONFORMS_IN_ORDER(file, Class)                                                \
    class Class##_in_order : public ::weft::test::Everywhere {};                           \
    INSTANTIATE_TEST_SUITE_P(file, Class##_in_order,                                       \
                             ::testing::Values(::weft::test::Where{"Strict", 1, true, 1}), \
                             ::weft::test::name_of_where)
