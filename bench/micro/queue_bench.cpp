// What does an item cost that goes through a busy Queue?
//
// W8: 4 producers put and 4 consumers get 2,000,000 items through a Queue of capacity 1,024; an
// operation is one item.
#include <vector>

#include "measure.hpp"

namespace {

constexpr int kPairs = 4;
constexpr long kItemsEach = 500'000;

void many_to_many(benchmark::State& state) {
    micro::time_in_weft(state, double(kPairs) * kItemsEach, [] {
        weft::Queue<long> queue(1024);
        std::vector<weft::Task<void>> producers;
        std::vector<weft::Task<long>> consumers;
        for (int i = 0; i < kPairs; ++i) {
            producers.push_back(weft::create_task([&queue] {
                for (long item = 0; item < kItemsEach; ++item) queue.put(item);
            }));
            consumers.push_back(weft::create_task([&queue] {
                long sum = 0;
                for (long k = 0; k < kItemsEach; ++k) sum += queue.get();
                return sum;
            }));
        }
        for (auto& producer : producers) weft::await(producer);
        long sum = 0;
        for (auto& consumer : consumers) sum += weft::await(consumer);
        micro::require(sum == kPairs * (kItemsEach * (kItemsEach - 1) / 2), "items");
    });
}
BENCHMARK(many_to_many)->Name("queue/4_to_4_capacity_1024")->Apply(micro::on_workers);

}  // namespace
