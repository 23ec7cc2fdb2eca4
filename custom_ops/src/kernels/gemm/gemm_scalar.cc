// The specification of the matrix kernels, one product at a time.
#include "kernels/cpu.h"
#include "kernels/gemm/gemm.h"
#include "kernels/requantize/requantize_scalar.h"

namespace nq {

void unpack_reference(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_scalar;

namespace {

int32_t multiply_channel(const GemmTile& tile, int row, uint32_t channel) {
  const GemmRows& rows = tile.rows;
  const int8_t* codes = tile.codes + channel / kMatrixChannels * tile.block_stride;
  const uint32_t c = channel % kMatrixChannels;
  auto sum = static_cast<uint32_t>(tile.bias[channel]);  // unsigned: it may wrap around
  uint32_t at = 0;
  for (uint32_t k = 0; k < rows.num_pieces; ++k) {
    const int8_t* piece = rows.pieces[static_cast<uint32_t>(row) * rows.num_pieces + k];
    for (uint32_t i = 0; i < rows.piece_depth; ++i, ++at) {
      const int weight = codes[size_t{at / kDepthPerBlock} * kLineBytes + c * kDepthPerBlock + at % kDepthPerBlock];
      sum += static_cast<uint32_t>(weight * piece[i]);
    }
  }
  return static_cast<int32_t>(sum);
}

void accumulate(const GemmTile& tile, int32_t* sums) {
  const auto num_channels = static_cast<uint32_t>(tile.num_blocks * kMatrixChannels);
  for (int r = 0; r < tile.rows.num_rows; ++r) {
    for (uint32_t c = 0; c < num_channels; ++c) sums[r * kTileChannels + c] = multiply_channel(tile, r, c);
  }
}

void requantize(const int32_t* sums, const Requantization& requantization, int8_t* out, uint32_t num_channels) {
  for (uint32_t c = 0; c < num_channels; ++c) out[c] = requantize_scalar(sums[c], requantization, c);
}

void dequantize(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out, size_t out_stride,
                uint32_t num_channels) {
  for (size_t r = 0; r < static_cast<size_t>(num_rows); ++r) {
    for (uint32_t c = 0; c < num_channels; ++c) {
      out[r * out_stride + c] = dequantize_scalar(sums[r * kTileChannels + c], dequantization, r, c);
    }
  }
}

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  for (int r = 0; r < tile.rows.num_rows; ++r) {
    for (uint32_t c = 0; c < num_channels; ++c) {
      out[r * out_stride + c] = requantize_scalar(multiply_channel(tile, r, c), requantization, c);
    }
  }
}

}  // namespace

constexpr GemmKernel gemm_scalar = [] {
  GemmKernel kernel;
  kernel.isa = "scalar";
  kernel.supported = always;
  kernel.activations.gathers = true;
  kernel.codes.unpack = unpack_reference;
  kernel.multiply = multiply;
  kernel.sums.accumulate = accumulate;
  kernel.sums.requantize = requantize;
  kernel.sums.dequantize = dequantize;
  return kernel;
}();

}  // namespace nq
