#include "kernels/gemm/agreement.h"

#include <algorithm>
#include <memory>
#include <new>

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

// Windows of 2 x 3 taps on an image of whole lines: on a grid, whose lines have two pixels without an output, or on
// strips.
constexpr uint32_t kTapRows = 2, kTapColumns = 3;
constexpr int kMostLines = 10, kMostOutputs = 70;
constexpr uint32_t kMostPixels = (kMostLines + kTapRows) * 9, kMostInputs = 64;
constexpr uint32_t kMostDepth = kTapRows * kTapColumns * kMostInputs;

struct SpacedCase {
  uint32_t inputs;  // channels
  int line, outputs, lines;
  bool strips;
};
// All rows in one unit, more rows, and pieces that are not 64 deep.
constexpr SpacedCase kSpacedCases[] = {{64, 9, 7, 5, false}, {64, 9, 7, kMostLines, false}, {5, 20, 18, 3, true}};

// Large, and therefore not on a thread's stack.
struct SpacedProduct {
  explicit SpacedProduct(const SpacedCase& each) : of(each), depth(kTapRows * kTapColumns * each.inputs) {
    uint32_t state = 2;
    const auto next = [&state] { return static_cast<int8_t>((state = state * 1664525u + 1013904223u) >> 24); };
    weight.block.full_bits = 8;
    weight.block.num_levels = 2;
    weight.block.levels[0].bits = weight.block.levels[1].bits = 4;
    weight.block.channels = kTileChannels;
    weight.block.depth = depth;
    weight.level = 1;
    for (int k = 0; k < 2; ++k) {
      std::generate(std::begin(levels[k]), std::end(levels[k]), next);
      weight.levels[k] = levels[k];
    }
    std::generate(std::begin(image), std::end(image), next);
    std::fill(std::begin(multiplier), std::end(multiplier), 1e-4f);
  }

  const int8_t* tap(int y, int x, uint32_t ky, uint32_t kx) const {
    const uint32_t pixel = (static_cast<uint32_t>(y) + ky) * static_cast<uint32_t>(of.line) + static_cast<uint32_t>(x);
    return image + size_t{pixel + kx} * of.inputs;
  }

  void run(const GemmKernel& kernel, const GemmRows& rows, int8_t* out) {
    const GemmTask task = {weight, rows, 0, kTileBlocks, bias, scratch};
    run_gemm(kernel, task, Requantization{multiplier, -128, -128, 127, true}, out, kTileChannels);
  }

  // Each window as a row of its own.
  void run_windows() {
    const int8_t* pieces[kMostOutputs];
    int8_t* row = windows;
    for (int y = 0, i = 0; y < of.lines; ++y) {
      for (int x = 0; x < of.outputs; ++x, ++i) {
        pieces[i] = row;
        for (uint32_t ky = 0; ky < kTapRows; ++ky) row = std::copy_n(tap(y, x, ky, 0), kTapColumns * of.inputs, row);
        row += align(depth, kDepthPerBlock) - depth;
      }
    }
    const auto row_depth = static_cast<uint32_t>(align(depth, kDepthPerBlock));
    run(gemm_scalar, {pieces, 1, row_depth, of.lines * of.outputs}, expected);
  }

  void run_spaced(const GemmKernel& kernel) {
    const int8_t* pieces[kTapRows * kTapColumns];
    uint32_t num_pieces = 0;
    for (uint32_t ky = 0; ky < kTapRows; ++ky) {
      for (uint32_t kx = 0; kx < (of.strips ? 1 : kTapColumns); ++kx) pieces[num_pieces++] = tap(0, 0, ky, kx);
    }
    const int line = of.strips ? of.outputs : of.line;
    GemmRows rows = {pieces, num_pieces, depth / num_pieces, (of.lines - 1) * line + of.outputs};
    rows.spacing = {of.inputs, line, of.outputs, of.strips ? static_cast<size_t>(of.line) * of.inputs : 0};
    run(kernel, rows, got);
  }

  const SpacedCase& of;
  uint32_t depth;
  PackedWeight weight;
  alignas(kLineBytes) uint8_t scratch[1 << 18];
  uint8_t levels[2][kTileChannels * kMostDepth / 2];
  int8_t image[kMostPixels * kMostInputs + kLineBytes];
  int8_t windows[kMostOutputs * kMostDepth] = {};
  int8_t expected[kMostOutputs * kTileChannels] = {}, got[kMostOutputs * kTileChannels] = {};
  int32_t bias[kTileChannels] = {};
  float multiplier[kTileChannels];
};

// Without memory, nobody knows.
bool agrees_on_spaced_rows(const GemmKernel& kernel) {
  for (const SpacedCase& each : kSpacedCases) {
    const std::unique_ptr<SpacedProduct> product(new (std::nothrow) SpacedProduct(each));
    if (product == nullptr) return false;
    const uint32_t num_pieces = each.strips ? kTapRows : kTapRows * kTapColumns;
    if (gemm_scratch_bytes(kernel, product->depth, num_pieces) > sizeof(product->scratch)) return false;
    product->run_windows();
    product->run_spaced(kernel);
    if (!std::equal(std::begin(product->got), std::end(product->got), std::begin(product->expected))) return false;
  }
  return true;
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
         (kernel.spaced.run == nullptr || agrees_on_spaced_rows(kernel));
}

}  // namespace nq
