#include "layers/grid_convolution.h"

#include <algorithm>
#include <cstring>

namespace nq {
namespace {

// Of a panel's grid, which stays in the L2 cache while all channels are multiplied.
constexpr int64_t kGridBytes = 512 * 1024;

int64_t divide_up(int64_t count, int64_t size) { return (count + size - 1) / size; }

}  // namespace

bool GridConvolution::reshape(const Geometry& geometry) {
  const Window& w = geometry.window;
  const auto step = static_cast<int32_t>(kernel_.activations.spaced_step);
  const int64_t span_w = window_span(w.kernel_w, w.dilation_w);
  const bool steps_by_one = w.stride_h == 1 && w.stride_w == 1 && w.kernel_h * w.kernel_w > 1;
  if (step == 0 || geometry.in_c % step != 0 || !steps_by_one || geometry.out_w < span_w - 1) return false;
  geometry_ = geometry;
  span_h_ = window_span(w.kernel_h, w.dilation_h);
  grid_w_ = geometry.out_w + span_w - 1;
  taps_.clear();
  for (int64_t ky = 0; ky < w.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < w.kernel_w; ++kx) {
      taps_.push_back((ky * w.dilation_h * grid_w_ + kx * w.dilation_w) * geometry.in_c);
    }
  }
  const int64_t most = std::max<int64_t>(kGridBytes / (grid_w_ * geometry.in_c) - (span_h_ - 1), 1);
  lines_ = divide_up(geometry.out_h, divide_up(geometry.out_h, most));
  return true;
}

void GridConvolution::run(const LayerTask& task, const Requantization& requantization, bool by_lines, int8_t* output,
                          ThreadPool* pool) {
  const Range all_lines = {0, int64_t{geometry_.batches} * geometry_.out_h};
  const Range all_blocks = {0, divide_up(block_.channels, kMatrixChannels)};
  const int parts = pool->size();
  pool->run(parts, [&](int part, Workspace* workspace) {
    const Range lines = by_lines ? split_range(all_lines.end, part, parts) : all_lines;
    const Range blocks = by_lines ? all_blocks : split_range(all_blocks.end, part, parts);
    if (blocks.begin < blocks.end) run_lines(task, requantization, lines, blocks, output, workspace);
  });
}

void GridConvolution::run_lines(const LayerTask& task, const Requantization& requantization, Range lines, Range blocks,
                                int8_t* output, Workspace* workspace) const {
  const Geometry& g = geometry_;
  const int64_t more = int64_t{kLeastSpacedRows - 1} * g.in_c;
  const size_t pointer_bytes = align(taps_.size() * sizeof(int8_t*), kLineBytes);
  const size_t bytes = align(static_cast<uint64_t>(grid_bytes(lines_) + more), kLineBytes);
  uint8_t* memory = workspace->get(pointer_bytes + bytes + gemm_scratch_bytes(kernel_, block_.depth));
  auto** pieces = reinterpret_cast<const int8_t**>(memory);
  auto* grid = reinterpret_cast<int8_t*>(memory + pointer_bytes);
  for (size_t tap = 0; tap < taps_.size(); ++tap) pieces[tap] = grid + taps_[tap];
  for (Panel panel; lines.begin < lines.end; lines.begin += panel.count) {
    panel = {lines.begin / g.out_h, lines.begin % g.out_h, 0};
    panel.count = std::min({lines_, lines.end - lines.begin, g.out_h - panel.first});
    copy_lines(task, panel, grid);
    GemmRows rows = {pieces, static_cast<uint32_t>(taps_.size()), static_cast<uint32_t>(g.in_c),
                     static_cast<int>((panel.count - 1) * grid_w_ + g.out_w)};
    rows.spacing.step = static_cast<size_t>(g.in_c);
    rows.spacing.line = static_cast<int>(grid_w_);
    rows.spacing.length = g.out_w;
    const GemmTask gemm_task = {task.weight,
                                rows,
                                static_cast<uint32_t>(blocks.begin),
                                static_cast<uint32_t>(blocks.end - blocks.begin),
                                task.bias,
                                memory + pointer_bytes + bytes};
    run_gemm(kernel_, gemm_task, requantization, output + lines.begin * g.out_w * g.out_c,
             static_cast<size_t>(g.out_c));
  }
}

void GridConvolution::copy_lines(const LayerTask& task, const Panel& panel, int8_t* grid) const {
  const Geometry& g = geometry_;
  const int64_t line = grid_w_ * g.in_c, before = int64_t{g.pad_left} * g.in_c, inside = int64_t{g.in_w} * g.in_c;
  const auto pad = [&](int8_t* to, int64_t bytes) { std::memset(to, task.zero_point, static_cast<size_t>(bytes)); };
  for (int64_t y = 0; y < panel.count + span_h_ - 1; ++y, grid += line) {
    const int64_t in_y = panel.first + y - g.pad_top;
    if (in_y < 0 || in_y >= g.in_h) {
      pad(grid, line);
      continue;
    }
    pad(grid, before);
    std::memcpy(grid + before, task.input + (panel.batch * g.in_h + in_y) * inside, static_cast<size_t>(inside));
    pad(grid + before + inside, line - before - inside);
  }
}

}  // namespace nq
