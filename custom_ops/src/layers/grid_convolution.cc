#include "layers/grid_convolution.h"

#include <algorithm>
#include <cstring>

namespace nq {
namespace {

// Of a panel's lines, which stay in the L2 cache while all channels are multiplied.
constexpr int64_t kGridBytes = 512 * 1024;

// What the depth of several pieces is a multiple of, and the most of those that are no multiple of it; and how many
// rows a line has at least whose end is no neighbour of the next one's beginning.
constexpr int32_t kPieceStep = 64, kLeastLine = 16;

int64_t divide_up(int64_t count, int64_t size) { return (count + size - 1) / size; }

}  // namespace

bool GridConvolution::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  const Window& w = geometry.window;
  span_h_ = window_span(w.kernel_h, w.dilation_h);
  strips_ = on_strips();
  if (kernel_.spaced.run == nullptr || (!strips_ && !on_grid())) return false;
  grid_w_ = int64_t{geometry.out_w - 1} * w.stride_w + window_span(w.kernel_w, w.dilation_w);
  place_pieces();
  const int64_t most = std::max<int64_t>((kGridBytes / line_bytes() - span_h_) / w.stride_h + 1, 1);
  lines_ = divide_up(geometry.out_h, divide_up(geometry.out_h, most));
  return true;
}

bool GridConvolution::on_grid() const {
  const Window& w = geometry_.window;
  return w.stride_h == 1 && w.stride_w == 1 && w.kernel_h * w.kernel_w > 1 && geometry_.in_c % kPieceStep == 0 &&
         geometry_.out_w >= window_span(w.kernel_w, w.dilation_w) - 1;
}

bool GridConvolution::on_strips() const {
  const Window& w = geometry_.window;
  return w.kernel_h > 1 && w.dilation_w == 1 && int64_t{w.kernel_w} * geometry_.in_c < kPieceStep &&
         geometry_.out_w >= kLeastLine;
}

void GridConvolution::place_pieces() {
  const Window& w = geometry_.window;
  piece_depth_ = static_cast<uint32_t>(strips_ ? w.kernel_w * geometry_.in_c : geometry_.in_c);
  pieces_.clear();
  for (int64_t ky = 0; ky < w.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < (strips_ ? 1 : w.kernel_w); ++kx) {
      pieces_.push_back((ky * w.dilation_h * grid_w_ + kx * w.dilation_w) * geometry_.in_c);
    }
  }
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
  const auto num_pieces = static_cast<uint32_t>(pieces_.size());
  const size_t pointer_bytes = align(num_pieces * sizeof(int8_t*), kLineBytes);
  const auto read_bytes = static_cast<size_t>(lines_read(lines_) * line_bytes());
  const size_t grid_bytes = align(read_bytes + kPieceStep, kLineBytes);  // narrow pieces are read as if they were wider
  const size_t scratch_bytes = gemm_scratch_bytes(kernel_, block_.depth, num_pieces);
  uint8_t* memory = workspace->get(pointer_bytes + grid_bytes + scratch_bytes);
  auto** pieces = reinterpret_cast<const int8_t**>(memory);
  auto* grid = reinterpret_cast<int8_t*>(memory + pointer_bytes);
  for (uint32_t k = 0; k < num_pieces; ++k) pieces[k] = grid + pieces_[k];
  for (Panel panel; lines.begin < lines.end; lines.begin += panel.count) {
    panel = {lines.begin / g.out_h, lines.begin % g.out_h, 0};
    panel.count = std::min({lines_, lines.end - lines.begin, g.out_h - panel.first});
    copy_lines(task, panel, grid);
    const GemmTask gemm_task = {task.weight,
                                rows_of(pieces, panel.count),
                                static_cast<uint32_t>(blocks.begin),
                                static_cast<uint32_t>(blocks.end - blocks.begin),
                                task.bias,
                                memory + pointer_bytes + grid_bytes};
    run_gemm(kernel_, gemm_task, requantization, output + lines.begin * g.out_w * g.out_c,
             static_cast<size_t>(g.out_c));
  }
}

// Of so many lines of the output. On a grid, rows between two lines have no output.
GemmRows GridConvolution::rows_of(const int8_t* const* pieces, int64_t count) const {
  const Geometry& g = geometry_;
  const int64_t line = strips_ ? g.out_w : grid_w_;
  GemmRows rows = {pieces, static_cast<uint32_t>(pieces_.size()), piece_depth_,
                   static_cast<int>((count - 1) * line + g.out_w)};
  rows.spacing.step = static_cast<size_t>(g.window.stride_w) * static_cast<size_t>(g.in_c);
  rows.spacing.line = static_cast<int>(line);
  rows.spacing.length = g.out_w;
  if (strips_) rows.spacing.line_step = static_cast<size_t>(g.window.stride_h * line_bytes());
  return rows;
}

// The last lines or columns of an image may be beyond all windows.
void GridConvolution::copy_lines(const LayerTask& task, const Panel& panel, int8_t* grid) const {
  const Geometry& g = geometry_;
  const int64_t line = line_bytes(), image_line = int64_t{g.in_w} * g.in_c;
  const int64_t before = std::min(int64_t{g.pad_left} * g.in_c, line), inside = std::min(image_line, line - before);
  const auto pad = [&](int8_t* to, int64_t bytes) { std::memset(to, task.zero_point, static_cast<size_t>(bytes)); };
  for (int64_t y = 0; y < lines_read(panel.count); ++y, grid += line) {
    const int64_t in_y = panel.first * g.window.stride_h + y - g.pad_top;
    if (in_y < 0 || in_y >= g.in_h) {
      pad(grid, line);
      continue;
    }
    pad(grid, before);
    std::memcpy(grid + before, task.input + (panel.batch * g.in_h + in_y) * image_line, static_cast<size_t>(inside));
    pad(grid + before + inside, line - before - inside);
  }
  pad(grid, kPieceStep);
}

}  // namespace nq
