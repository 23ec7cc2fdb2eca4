// What it costs to wake a pool's threads: microseconds that the caller of a call pays whose parts do nothing, best of
// several rounds, and what one thread does in that time.
//
//   pool_bench [threads; default 2]
//
// "awake" calls one after the other, as a net's layers do; "asleep" waits before each call until the threads sleep.
// layers/quantize_rows.cc (kMinFloatsToShare) and operators/operator.h (kWorthWaking) keep smaller work to one thread.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "kernels/kernels.h"
#include "threads/thread_pool.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7, kCalls = 200;
constexpr size_t kElements = size_t{1} << 16;

double microseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

template <typename Work>
double best_of_rounds(const Work& work) {
  double best = 1e30;
  for (int round = 0; round < kRounds; ++round) best = std::min(best, work());
  return best;
}

double awake(nq::ThreadPool* pool) {
  return best_of_rounds([pool] {
    const auto start = Clock::now();
    for (int i = 0; i < kCalls; ++i) pool->run([](int, nq::Workspace*) {});
    return microseconds_since(start) / kCalls;
  });
}

double asleep(nq::ThreadPool* pool) {
  return best_of_rounds([pool] {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto start = Clock::now();
    pool->run([](int, nq::Workspace*) {});
    return microseconds_since(start);
  });
}

// Of some work on kElements.
template <typename Work>
double elements_a_microsecond(const Work& work) {
  const double best = best_of_rounds([&] {
    const auto start = Clock::now();
    work();
    return microseconds_since(start);
  });
  return static_cast<double>(kElements) / best;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : 2;
  nq::Kernels kernels;
  const nq::Status status = nq::select_kernels(&kernels);
  if (threads < 2 || threads > 1024 || !status.ok()) {
    std::fprintf(stderr, "expected a number of threads from 2 to 1024; %s\n", status.message().c_str());
    return 2;
  }
  nq::ThreadPool pool;
  pool.resize(threads);
  const double call = asleep(&pool);
  std::printf("%d threads, microseconds a call: awake %.2f, asleep %.2f\n", threads, awake(&pool), call);
  const std::vector<float> floats(kElements, 0.5f);
  std::vector<int8_t> codes(kElements), out(kElements), table(256);
  const double quantized = elements_a_microsecond([&] {
    kernels.quantize->find_range(floats.data(), kElements);
    kernels.quantize->quantize(floats.data(), kElements, 100, 0, codes.data());
  });
  const double looked_up =
      elements_a_microsecond([&] { kernels.elementwise->look_up(table.data(), codes.data(), kElements, out.data()); });
  std::printf("in the time of a call that finds them asleep: %.0f floats quantized, %.0f codes looked up (%s)\n",
              call * quantized, call * looked_up, kernels.quantize->isa);
}
