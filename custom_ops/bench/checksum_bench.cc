// How long each checksum kernel takes for a file's section: the median and the best of interleaved rounds, one thread,
// pages already in memory.
//
//   checksum_bench [bytes; default 12760000, ResNet50's residual]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "kernels/checksum/checksum.h"

namespace {

constexpr int kRounds = 41;

double milliseconds(const nq::ChecksumKernel& kernel, const std::vector<uint8_t>& bytes, uint32_t* found) {
  const auto start = std::chrono::steady_clock::now();
  *found = kernel.crc32(bytes.data(), bytes.size());
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

int main(int argc, char** argv) {
  const long size = argc > 1 ? std::atol(argv[1]) : 12760000;
  if (size < 1 || size > 1L << 30) {
    std::fprintf(stderr, "expected a number of bytes from 1 to 2^30, got '%s'\n", argv[1]);
    return 2;
  }
  std::mt19937 random(0);
  std::vector<uint8_t> bytes(static_cast<size_t>(size));
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());

  std::vector<const nq::ChecksumKernel*> kernels;
  for (const nq::ChecksumKernel* kernel : nq::kernels_of<nq::ChecksumKernel>()) {
    if (kernel->supported()) kernels.push_back(kernel);
  }
  std::vector<std::vector<double>> times(kernels.size());
  std::vector<uint32_t> found(kernels.size());
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < kernels.size(); ++i) times[i].push_back(milliseconds(*kernels[i], bytes, &found[i]));
  }
  std::printf("%ld bytes          median ms  best ms  GB/s at best\n", size);
  for (size_t i = 0; i < kernels.size(); ++i) {
    std::sort(times[i].begin(), times[i].end());
    std::printf("%-20s %9.3f %8.3f %13.1f  %08x\n", kernels[i]->isa, times[i][kRounds / 2], times[i][0],
                static_cast<double>(size) / times[i][0] / 1e6, found[i]);
  }
  return std::count(found.begin(), found.end(), found[0]) == static_cast<long>(found.size()) ? 0 : 1;
}
