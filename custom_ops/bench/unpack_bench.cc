// How fast each kernel unpacks, beside memcpy: GB of codes written per second, best of several rounds, one thread.
//
//   unpack_bench [megabytes of codes; default 16]
//
// "unpack" writes packed order into a cache-sized buffer, as a fused kernel would use it; "weight" writes a whole
// matrix in the reader's order.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/unpack/unpack.h"
#include "kernels/unpack/weight.h"

namespace {

constexpr int kRounds = 7;
constexpr size_t kBatch = 64;  // superblocks: 32 KB of codes
constexpr uint32_t kDepth = 2048;

template <typename Work>
double gigabytes_per_second(size_t bytes, const Work& work) {
  double best = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(bytes) / elapsed.count() / 1e9);
  }
  return best;
}

nq::OptionBlock matrix(uint32_t channels, int part_bits) {
  nq::OptionBlock block;
  block.channels = channels;
  block.depth = kDepth;
  block.full_bits = 8;
  block.num_levels = 2;
  block.levels[0].bits = part_bits;
  block.levels[1].bits = 8 - part_bits;
  return block;
}

struct Case {
  Case(uint32_t channels, int part_bits) : block(matrix(channels, part_bits)) {
    std::mt19937 random(0);
    for (int k = 0; k < 2; ++k) {
      levels[k].resize(nq::level_bytes(block, k));
      for (uint8_t& byte : levels[k]) byte = static_cast<uint8_t>(random());
      data[k] = levels[k].data();
    }
  }

  void unpack(const nq::UnpackKernel& kernel, int level, int8_t* codes) const {
    const size_t total = nq::num_superblocks(block);
    const nq::CellMiddle middle = nq::cell_middle(block, level, 0);
    for (size_t first = 0; first < total; first += kBatch) {
      nq::PackedLevels packed;
      packed.num_levels = level + 1;
      for (int k = 0; k <= level; ++k) {
        packed.bits[k] = block.levels[k].bits;
        packed.data[k] = data[k] + first * nq::kLineBytes * packed.bits[k];
      }
      kernel.unpack(packed, middle, std::min(kBatch, total - first), codes);
    }
  }

  nq::OptionBlock block;
  std::vector<uint8_t> levels[2];
  const uint8_t* data[2] = {};
};

}  // namespace

int main(int argc, char** argv) {
  const int megabytes = argc > 1 ? std::atoi(argv[1]) : 16;
  if (megabytes < 1 || megabytes > 1024) {
    std::fprintf(stderr, "expected a number of megabytes from 1 to 1024, got '%s'\n", argv[1]);
    return 2;
  }
  const size_t bytes = static_cast<size_t>(megabytes) << 20;
  std::vector<int8_t> codes(kBatch * nq::kSuperblockWeights), weight(bytes), copy(bytes);
  std::printf("%d MB of codes, GB/s written\nmemcpy              %6.1f\n", megabytes,
              gigabytes_per_second(bytes, [&] { std::memcpy(copy.data(), weight.data(), bytes); }));
  for (const nq::UnpackKernel* kernel : nq::kernels_of<nq::UnpackKernel>()) {
    if (!kernel->supported()) continue;
    for (const int part_bits : {4, 5, 6, 7}) {
      const Case split(static_cast<uint32_t>(bytes / kDepth), part_bits);
      for (const int level : {0, 1}) {
        const double unpacked = gigabytes_per_second(bytes, [&] { split.unpack(*kernel, level, codes.data()); });
        const double written = gigabytes_per_second(
            bytes, [&] { nq::write_weight(*kernel, split.block, split.data, level, weight.data()); });
        std::printf("%-8s 8|%d %s  unpack %6.1f  weight %6.1f\n", kernel->isa, part_bits, level == 0 ? "part" : "full",
                    unpacked, written);
      }
    }
  }
}
