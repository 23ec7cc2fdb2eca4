#include "kernels/gemm/agreement.h"

#include <algorithm>

namespace nq {

extern const GemmKernel gemm_scalar;

namespace {

// Not a multiple of anything that a kernel works in: rows, blocks of channels, steps through the depth.
constexpr int kRows = 21, kBlocks = 3;
constexpr uint32_t kDepth = 100, kCodesDepth = 128, kChannels = 45;

struct Matrix {
  Matrix() {
    uint32_t state = 1;
    const auto next = [&state] { return static_cast<int8_t>((state = state * 1664525u + 1013904223u) >> 24); };
    std::generate(std::begin(codes), std::end(codes), next);
    std::generate(std::begin(activations), std::end(activations), next);
    for (int r = 0; r < kRows; ++r) rows[r] = activations + static_cast<size_t>(r) * kDepth;
    std::generate(std::begin(bias), std::end(bias), [&next] { return next() * 1000; });
    std::fill(std::begin(multiplier), std::end(multiplier), 1e-3f);
  }

  GemmTile tile(int first_row, int num_rows) const {
    const GemmRows tile_rows = {rows + first_row, 1, kDepth, num_rows};
    return {codes, size_t{kCodesDepth} * kMatrixChannels, kBlocks, tile_rows, bias, {codes, 0}};
  }

  alignas(kLineBytes) int8_t codes[kBlocks * kCodesDepth * kMatrixChannels];
  int8_t activations[kRows * kDepth];
  const int8_t* rows[kRows];
  int32_t bias[kTileChannels];
  float multiplier[kTileChannels];
};

// The pixels of a grid of lines of 9, of which 7 have outputs: windows of 2 x 3 taps.
constexpr int kLine = 9, kLength = 7, kGridRows = 4 * kLine + kLength, kGridOutputs = 5 * kLength;
constexpr uint32_t kTapDepth = 64, kTaps = 6;
static_assert(kGridRows >= kLeastSpacedRows);

struct Grid {
  Grid() {
    uint32_t state = 2;
    const auto next = [&state] { return static_cast<int8_t>((state = state * 1664525u + 1013904223u) >> 24); };
    std::generate(std::begin(codes), std::end(codes), next);
    std::generate(std::begin(activations), std::end(activations), next);
    std::fill(std::begin(multiplier), std::end(multiplier), 1e-4f);
    for (int line = 0, pixel = 0; line * kLength < kGridOutputs; ++line) {
      for (int x = 0; x < kLength; ++x, ++pixel) {
        for (int tap = 0; tap < static_cast<int>(kTaps); ++tap) {
          const int row = (line + tap / 3) * kLine + x + tap % 3;
          pieces[pixel * static_cast<int>(kTaps) + tap] = activations + row * static_cast<int>(kTapDepth);
        }
      }
    }
  }

  GemmTile tile(const GemmRows& rows) const {
    return {codes, size_t{kTaps} * kTapDepth * kMatrixChannels, kTileBlocks, rows, bias, {codes, 0}};
  }

  alignas(kLineBytes) int8_t codes[kTileChannels * kTaps * kTapDepth];
  int8_t activations[(kGridRows + kLine + 2) * kTapDepth];
  const int8_t* pieces[kGridOutputs * kTaps];
  int32_t bias[kTileChannels] = {};
  float multiplier[kTileChannels];
};

// Whether the kernel computes spaced rows as the scalar one does the same windows.
bool agrees_on_a_grid(const GemmKernel& kernel) {
  const Grid grid;
  const Requantization requantization = {grid.multiplier, -128, -128, 127, true};
  int8_t expected[kGridOutputs * kTileChannels], got[kGridOutputs * kTileChannels];
  for (int pixel = 0; pixel < kGridOutputs; ++pixel) {
    const GemmTile tile = grid.tile({grid.pieces + pixel * static_cast<int>(kTaps), kTaps, kTapDepth, 1});
    gemm_scalar.multiply(tile, requantization, expected + pixel * kTileChannels, kTileChannels, kTileChannels);
  }
  if (kernel.around.begin != nullptr) kernel.around.begin();
  for (int row = 0, pixel = 0; row < kGridRows; row += kernel.rows) {
    GemmRows rows = {grid.pieces, kTaps, kTapDepth, std::min(kernel.rows, kGridRows - row)};
    rows.spacing = {kTapDepth, kLine, kLength, static_cast<size_t>(row) * kTapDepth, row % kLine};
    kernel.multiply(grid.tile(rows), requantization, got + pixel * kTileChannels, kTileChannels, kTileChannels);
    const int end = row + rows.num_rows;
    pixel = end / kLine * kLength + std::min(end % kLine, kLength);
  }
  if (kernel.around.end != nullptr) kernel.around.end();
  return std::equal(std::begin(expected), std::end(expected), std::begin(got));
}

struct Product {
  Product(const GemmKernel& kernel, const Matrix& matrix) {
    const Requantization requantization = {matrix.multiplier, 3, -128, 127};
    if (kernel.around.begin != nullptr) kernel.around.begin();
    for (int row = 0; row < kRows; row += kernel.rows) {
      const GemmTile tile = matrix.tile(row, std::min(kernel.rows, kRows - row));
      kernel.multiply(tile, requantization, out + static_cast<size_t>(row) * kChannels, kChannels, kChannels);
    }
    if (kernel.around.end != nullptr) kernel.around.end();
  }

  int8_t out[kRows * kChannels] = {};
};

}  // namespace

bool agrees_with_scalar(const GemmKernel& kernel) {
  const Matrix matrix;
  const Product expected(gemm_scalar, matrix), got(kernel, matrix);
  return std::equal(std::begin(expected.out), std::end(expected.out), std::begin(got.out)) &&
         (kernel.activations.spaced_step == 0 || agrees_on_a_grid(kernel));
}

}  // namespace nq
