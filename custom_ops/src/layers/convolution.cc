#include "layers/convolution.h"

#include <algorithm>

namespace nq {
namespace {

// A panel of rows stays in the L2 cache beside a tile of weights; long enough that unpacking the tile costs little.
constexpr size_t kPanelBytes = 128 * 1024;
constexpr int64_t kMinPanelRows = 48;
constexpr int64_t kMaxPanelRows = 192;

int64_t panel_rows(size_t row_bytes, int tile_rows) {
  const auto fitting = static_cast<int64_t>(kPanelBytes / row_bytes);
  const int64_t rows = std::clamp(fitting, kMinPanelRows, kMaxPanelRows);
  return std::max<int64_t>(rows / tile_rows, 1) * tile_rows;
}

}  // namespace

struct Convolution::Job {
  PackedWeight weight;
  const int32_t* bias;
  Requantization requantization;
  const int8_t* input;
  int8_t* output;
  size_t row_bytes;
  int64_t panel_rows;
};

void Convolution::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  padding_.assign(static_cast<size_t>(geometry.window.kernel_w) * static_cast<size_t>(geometry.in_c),
                  static_cast<int8_t>(layer_->input_zero_point()));
}

void Convolution::run(int level, const int8_t* input, int8_t* output, ThreadPool* pool) {
  Job job;
  job.weight = layer_->packed(level);
  job.bias = layer_->folded_bias(level, kernel_.sum_offset);
  job.requantization = layer_->requantization();
  job.input = input;
  job.output = output;
  job.row_bytes = kernel_.row_bytes(job.weight.block.depth);
  job.panel_rows = panel_rows(job.row_bytes, kernel_.rows);
  pool->run([&](int part, Workspace* workspace) { run_part(job, part, pool->size(), workspace); });
}

// Threads share out panels; where there are too few of them, they share out channels and prepare the same rows each.
void Convolution::run_part(const Job& job, int part, int parts, Workspace* workspace) const {
  const int64_t pixels = geometry_.pixels();
  const int64_t blocks = (job.weight.block.channels + kMatrixChannels - 1) / kMatrixChannels;
  const int64_t panels = (pixels + job.panel_rows - 1) / job.panel_rows;
  const bool by_panels = panels >= parts;
  const Range own_panels = by_panels ? split_range(panels, part, parts) : Range{0, panels};
  const Range own_blocks = by_panels ? Range{0, blocks} : split_range(blocks, part, parts);
  if (own_blocks.begin == own_blocks.end) return;
  const size_t panel_bytes = job.row_bytes * static_cast<size_t>(std::min(job.panel_rows, pixels));
  uint8_t* rows = workspace->get(panel_bytes + gemm_scratch_bytes(job.weight.block.depth));
  for (int64_t panel = own_panels.begin; panel < own_panels.end; ++panel) {
    const int64_t begin = panel * job.panel_rows;
    run_panel(job, {begin, std::min(begin + job.panel_rows, pixels)}, own_blocks, rows, rows + panel_bytes);
  }
}

void Convolution::run_panel(const Job& job, Range pixels, Range blocks, uint8_t* rows, uint8_t* scratch) const {
  Place place = place_of(geometry_, pixels.begin);
  uint8_t* row = rows;
  for (int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel, advance(geometry_, &place), row += job.row_bytes) {
    prepare_row(job, place, row);
  }
  const size_t channels = job.weight.block.channels;
  kernel_.run(job.weight, rows, job.row_bytes, static_cast<int>(pixels.end - pixels.begin),
              static_cast<uint32_t>(blocks.begin), static_cast<uint32_t>(blocks.end - blocks.begin), job.bias,
              job.requantization, job.output + static_cast<size_t>(pixels.begin) * channels, channels, scratch);
}

// The window's taps one after the other, as the filter has them.
void Convolution::prepare_row(const Job& job, const Place& place, uint8_t* row) const {
  const Geometry& g = geometry_;
  const auto in_c = static_cast<uint32_t>(g.in_c);
  const int64_t top = place.y * g.window.stride_h - g.pad_top, left = place.x * g.window.stride_w - g.pad_left;
  const int8_t* image = job.input + place.batch * g.in_h * g.in_w * g.in_c;
  if (g.pointwise()) {
    kernel_.prepare(image + (top * g.in_w + left) * g.in_c, in_c, 0, row);
    return kernel_.finish_row(in_c, row);
  }
  const uint32_t width = static_cast<uint32_t>(g.window.kernel_w) * in_c;
  uint32_t at = 0;
  for (int32_t ky = 0; ky < g.window.kernel_h; ++ky, at += width) {
    const int64_t in_y = top + int64_t{ky} * g.window.dilation_h;
    if (in_y < 0 || in_y >= g.in_h) {
      kernel_.prepare(padding_.data(), width, at, row);
    } else {
      prepare_taps(image + in_y * g.in_w * g.in_c, left, at, row);
    }
  }
  kernel_.finish_row(at, row);
}

// One row of the window; taps that follow each other in memory go together.
void Convolution::prepare_taps(const int8_t* in_row, int64_t in_x, uint32_t at, uint8_t* row) const {
  const Geometry& g = geometry_;
  const auto in_c = static_cast<uint32_t>(g.in_c);
  const int32_t step = g.window.dilation_w == 1 ? g.window.kernel_w : 1;
  for (int32_t kx = 0; kx < g.window.kernel_w; kx += step) {
    const int64_t first = in_x + int64_t{kx} * g.window.dilation_w;
    const auto before = static_cast<uint32_t>(std::clamp<int64_t>(-first, 0, step));
    const auto until = static_cast<uint32_t>(std::clamp<int64_t>(g.in_w - first, before, step));
    if (before > 0) kernel_.prepare(padding_.data(), before * in_c, at, row);
    if (until > before) {
      kernel_.prepare(in_row + (first + before) * g.in_c, (until - before) * in_c, at + before * in_c, row);
    }
    const auto after = static_cast<uint32_t>(step) - until;
    if (after > 0) kernel_.prepare(padding_.data(), after * in_c, at + until * in_c, row);
    at += static_cast<uint32_t>(step) * in_c;
  }
}

}  // namespace nq
