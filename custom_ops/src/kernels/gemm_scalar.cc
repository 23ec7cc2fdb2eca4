// The specification of the matrix kernels, one product at a time.
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/gemm_tiles.h"
#include "kernels/requantize_scalar.h"

namespace nq {

void unpack_reference(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_scalar;

namespace {

size_t row_bytes(uint32_t depth) { return (size_t{depth} + 63) / 64 * 64; }

void prepare(const int8_t* in, uint32_t count, uint32_t at, uint8_t* row) { std::memcpy(row + at, in, count); }

void finish_row(uint32_t depth, uint8_t* row) { std::memset(row + depth, 0, row_bytes(depth) - depth); }

int32_t multiply_channel(const GemmTile& tile, int row, uint32_t channel) {
  const uint8_t* activations = tile.rows + row * tile.row_stride;
  const int8_t* codes = tile.codes + channel / kMatrixChannels * tile.num_superblocks * kSuperblockWeights;
  const uint32_t depth = tile.num_superblocks * kMatrixDepth, c = channel % kMatrixChannels;
  auto sum = static_cast<uint32_t>(tile.bias[channel]);  // unsigned: it may wrap around
  for (uint32_t i = 0; i < depth; ++i) {
    const int weight = codes[i / kDepthPerBlock * kLineBytes + c * kDepthPerBlock + i % kDepthPerBlock];
    sum += static_cast<uint32_t>(weight * static_cast<int8_t>(activations[i]));
  }
  return static_cast<int32_t>(sum);
}

void accumulate(const GemmTile& tile, int32_t* sums) {
  const auto num_channels = static_cast<uint32_t>(tile.num_blocks * kMatrixChannels);
  for (uint32_t c = 0; c < num_channels; ++c) sums[c] = multiply_channel(tile, 0, c);
}

void requantize(const int32_t* sums, const Requantization& requantization, int8_t* out, uint32_t num_channels) {
  for (uint32_t c = 0; c < num_channels; ++c) out[c] = requantize_scalar(sums[c], requantization, c);
}

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  for (int r = 0; r < tile.num_rows; ++r) {
    for (uint32_t c = 0; c < num_channels; ++c) {
      out[r * out_stride + c] = requantize_scalar(multiply_channel(tile, r, c), requantization, c);
    }
  }
}

constexpr TileKernel kTiles = {unpack_reference, 1, kMatrixDepth, multiply, accumulate, requantize};

void run(const PackedWeight& weight, const uint8_t* rows, size_t row_stride, int num_rows, uint32_t first_block,
         uint32_t num_blocks, const int32_t* bias, const Requantization& requantization, int8_t* out, size_t out_stride,
         uint8_t* scratch) {
  run_tiles(kTiles, weight, rows, row_stride, num_rows, first_block, num_blocks, bias, requantization, out, out_stride,
            scratch);
}

}  // namespace

const GemmKernel gemm_scalar = {"scalar", always, kTiles.rows, row_bytes, prepare, finish_row, 0, run};

}  // namespace nq
