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
  return std::equal(std::begin(expected.out), std::end(expected.out), std::begin(got.out));
}

}  // namespace nq
