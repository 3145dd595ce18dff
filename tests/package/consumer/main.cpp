#include <cstdio>

int sum_in_tasks(int n);

int main() {
    const int sum = sum_in_tasks(2);
    std::printf("consumer: %d\n", sum);
    return sum == 42 ? 0 : 1;
}
