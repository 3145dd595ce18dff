// Types of the user's own, through cereal: there and back, and against messages that are none.
#if __has_include(<cereal/cereal.hpp>)

#include <weft/cereal.hpp>
#include <weft/process.hpp>

#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace {

struct Job {
    std::string name;
    std::vector<double> points;
    std::map<std::string, std::vector<std::string>> tags;
    std::optional<int> priority;
    std::shared_ptr<int> shared;
    std::shared_ptr<int> shared_too;

    template <class Archive>
    void serialize(Archive& archive, std::uint32_t /*version*/) {
        archive(name, points, tags, CEREAL_NVP(priority), shared, shared_too);
    }
};

struct Shape {
    virtual ~Shape() = default;
    virtual double area() const = 0;
    template <class Archive>
    void serialize(Archive&) {}
};
struct Square : Shape {
    double side = 0;
    double area() const override { return side * side; }
    template <class Archive>
    void serialize(Archive& archive) {
        archive(cereal::base_class<Shape>(this), side);
    }
};
struct Drawing {
    std::vector<std::unique_ptr<Shape>> shapes;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(shapes);
    }
};

struct WithoutMembers {
    std::string forgotten;
    template <class Archive>
    void serialize(Archive&) {}
};

struct Chain {
    int value = 0;
    std::unique_ptr<Chain> next;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(value, next);
    }
};

struct Picture {
    std::string title;
    weft::SharedBuffer pixels;
    std::vector<weft::SharedBuffer> more;
    template <class Archive>
    void serialize(Archive& archive) {
        archive(title, pixels, more);
    }
};

struct NotSerializable {
    std::string text;
};

}  // namespace

CEREAL_CLASS_VERSION(Job, 1)
CEREAL_REGISTER_TYPE(Square)

namespace {

static_assert(weft::Serializable<Job> && weft::Serializable<std::map<int, std::vector<Job>>>);
static_assert(!weft::Serializable<NotSerializable>);

Job example() {
    Job job{"job", {1.5, 2.5}, {{"a", {"b", "c"}}, {"", {}}}, 7, std::make_shared<int>(9), {}};
    job.shared_too = job.shared;
    return job;
}

TEST(Cereal, CarriesAUsersTypeToAnotherProcessAndBack) {
    auto jobs = weft::to_process(
        [](std::vector<Job> sent) {
            for (Job& job : sent) job.points.push_back(*job.shared);
            return sent;
        },
        std::vector<Job>{example(), example()});
    ASSERT_EQ(jobs.size(), 2U);
    EXPECT_EQ(jobs[1].name, "job");
    EXPECT_EQ(jobs[1].points, (std::vector<double>{1.5, 2.5, 9}));
    EXPECT_EQ(jobs[1].tags.at("a").at(1), "c");
    EXPECT_EQ(jobs[1].priority, 7);
    EXPECT_EQ(jobs[1].shared, jobs[1].shared_too) << "one object stays one";
}

TEST(Cereal, CarriesSharedBuffersOfAUsersTypeBesideTheMessage) {
    static_assert(weft::Serializable<Picture>);
    Picture picture{"title", weft::SharedBuffer(1 << 20), {}};
    std::span<int> pixels = picture.pixels.writable_as<int>();
    pixels.back() = 7;
    picture.more = {picture.pixels, weft::SharedBuffer()};
    Picture back = weft::to_process(
        [](Picture got) {
            got.more.push_back(weft::SharedBuffer::copy_of(got.pixels.bytes()));
            return got;
        },
        picture);
    EXPECT_EQ(back.title, "title");
    EXPECT_EQ(back.pixels.as<int>().back(), 7);
    ASSERT_EQ(back.more.size(), 3U);
    EXPECT_EQ(back.more[0].bytes().data(), back.pixels.bytes().data());
    EXPECT_TRUE(back.more[1].empty());
    EXPECT_EQ(back.more[2].as<int>().back(), 7);
}

TEST(Cereal, CarriesPolymorphicPointers) {
    Drawing drawing;
    auto square = std::make_unique<Square>();
    square->side = 3;
    drawing.shapes.push_back(std::move(square));
    double area = weft::to_process([](Drawing got) { return got.shapes.at(0)->area(); }, drawing);
    EXPECT_EQ(area, 9);
}

TEST(Cereal, AValueThatWritesNothingStillCounts) {
    weft::OutputArchive out;
    out.write(std::vector<WithoutMembers>(1000));
    weft::InputArchive in(out.bytes());
    EXPECT_EQ(in.read<std::vector<WithoutMembers>>().size(), 1000U);
}

TEST(Cereal, ATypeThatHoldsItselfNestsNoDeeperThanAStackHolds) {
    auto chain_of = [](int links) {
        Chain first;
        for (Chain* last = &first; links > 1; --links) {
            last->next = std::make_unique<Chain>();
            last = last->next.get();
        }
        return first;
    };
    weft::OutputArchive out;
    EXPECT_NO_THROW(out.write(chain_of(20)));
    EXPECT_THROW(out.write(chain_of(2000)), weft::ArchiveError);
}

TEST(Cereal, ChangedMessagesEndInAValueOrAnError) {
    weft::OutputArchive out;
    out.write(std::vector<Job>{example(), example()});
    const std::vector<std::byte> bytes(out.bytes().begin(), out.bytes().end());
    std::mt19937 random(4);
    for (int round = 0; round < 20'000; ++round) {
        auto changed = bytes;
        for (unsigned count = 1 + random() % 4; count > 0; --count) {
            changed[random() % changed.size()] = std::byte(random());
        }
        if (random() % 4 == 0) changed.resize(random() % changed.size());
        try {
            weft::InputArchive in(changed);
            in.read<std::vector<Job>>();
        } catch (const weft::ArchiveError&) {
        } catch (const cereal::Exception&) {
        }
    }
}

}  // namespace

#endif
