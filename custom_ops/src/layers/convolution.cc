#include "layers/convolution.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace nq {
namespace {

// A panel of rows stays in the L2 cache beside a tile of weights, and is long enough that unpacking the tile costs
// little. `gemm_bench 12`, `48` and `192` show what panels of so many rows give.
constexpr int64_t kPanelBytes = 256 * 1024, kSpacedPanelBytes = 512 * 1024;
constexpr int64_t kMinPanelRows = 48, kMinPanelRowsInPlace = 192;
constexpr int64_t kMaxPanelPointers = 8192;

// Shorter pieces cost more in pointers than copying them does: the 3x3 layers of the zoo's nets
// (`python -m nq_tflite_models.benchmark`), of which the first have 3 channels.
constexpr int32_t kMinPieceDepth = 16;

// What unpacking a channel's weights and copying a row's activations cost, as multiplications: of how many rows with
// that channel, and of how many channels with that row: gemm_bench's GMAC/s over what `unpack_bench` gives a packed
// order, and over its memcpy. All costs beside multiplications grow with a kernel's `speed`.
constexpr int64_t kUnpackRows = 20, kCopyChannels = 8;

// What a row costs beyond its multiplications, as those with so many channels: for each tile, the last of which may
// have few blocks, and where threads share out channels, because most of a row comes from another processor's cache.
// Tuned, as the next one, with `python -m nq_tflite_models.benchmark --threads 1,2`.
constexpr int64_t kTileChannelsMore = 16, kFetchChannels = 16;

// Threads share out pixels in units of a tile's rows, up to so many.
constexpr int kMostUnitRows = 8, kSpacedUnitRows = 16;

// A copy of so many bytes costs no more than one of a few.
constexpr int64_t kShort = 32;

int64_t divide_up(int64_t count, int64_t size) { return (count + size - 1) / size; }

}  // namespace

struct Convolution::Panel {
  const int8_t** pieces;
  int8_t* rows;
};

void Convolution::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  on_grid_ = grid_.reshape(geometry);
  taps_.reshape(geometry);
  padding_.reshape(geometry);
  const auto num_taps = static_cast<int64_t>(taps_.size());
  const auto& rows = kernel_.activations;
  const auto step = static_cast<int32_t>(num_taps == 1 ? kDepthPerBlock : rows.piece_step);
  in_place_ = rows.prepare == nullptr && geometry.in_c % step == 0 &&
              (num_taps == 1 || (rows.gathers && geometry.in_c >= kMinPieceDepth));
  if (kernel_.spaced.run != nullptr) in_place_ = in_place_ && pixel_by_pixel(geometry);  // others are not evenly spaced
  const uint64_t depth = align(uint64_t{block_.depth}, kDepthPerBlock);
  row_bytes_ = align(depth * kernel_.activations.bytes + kShort, kLineBytes);
  panel_rows_ = panel_rows();
}

// Pixels whose activations, read or copied, and results fit in the cache beside a tile of weights.
int64_t Convolution::panel_rows() const {
  const auto num_taps = static_cast<int64_t>(taps_.size());
  const int64_t bytes = (in_place_ ? geometry_.in_c : static_cast<int64_t>(row_bytes_)) + geometry_.out_c;
  const int64_t least = in_place_ ? kMinPanelRowsInPlace : kMinPanelRows;
  const int64_t most = in_place_ ? std::max(kMaxPanelPointers / num_taps, kMinPanelRows) : kMaxPanelPointers;
  const int64_t panel_bytes = kernel_.spaced.run == nullptr ? kPanelBytes : kSpacedPanelBytes;
  const int64_t rows = std::min(std::max(panel_bytes / bytes, least), most);
  return std::max<int64_t>(rows / kernel_.rows, 1) * kernel_.rows;
}

void Convolution::run(const LayerTask& task, const Requantization& requantization, int8_t* output, ThreadPool* pool) {
  if (!on_grid_ || task.num_pixels < geometry_.pixels()) return run_rows(task, requantization, output, pool);
  grid_.run(task, requantization, cut_for(task.num_pixels, pool->size()).by_pixels, output, pool);
}

void Convolution::run(const LayerTask& task, const FloatFinish& finish, float* output, ThreadPool* pool) {
  run_rows(task, finish, output, pool);
}

template <typename Finish, typename Out>
void Convolution::run_rows(const LayerTask& task, const Finish& finish, Out* output, ThreadPool* pool) {
  padding_.fill(geometry_, task.zero_point);
  const size_t channels = block_.channels;
  const auto num_pieces = static_cast<int64_t>(in_place_ ? taps_.size() : 1);
  const Cut cut = cut_for(task.num_pixels, pool->size());
  const Range all_pixels = {0, task.num_pixels}, all_blocks = {0, divide_up(block_.channels, kMatrixChannels)};
  pool->run(cut.parts, [&](int part, Workspace* workspace) {
    const Range pixels = cut.by_pixels ? part_of(task.num_pixels, part, cut.parts) : all_pixels;
    const Range blocks = cut.by_pixels ? all_blocks : split_range(all_blocks.end, part, cut.parts);
    const int64_t count = pixels.end - pixels.begin;
    if (count == 0 || blocks.begin == blocks.end) return;
    // A panel that is a little longer costs less than unpacking all weights once more.
    const int64_t panels = count * 4 <= panel_rows_ * 5 ? 1 : divide_up(count, panel_rows_);
    const int64_t rows = divide_up(divide_up(count, panels), kernel_.rows) * kernel_.rows;  // all but the last alike
    const size_t pointer_bytes = align(static_cast<uint64_t>(rows * num_pieces) * sizeof(int8_t*), kLineBytes);
    const size_t copied_bytes = in_place_ ? 0 : row_bytes_ * static_cast<size_t>(std::min(rows, count));
    const size_t scratch_bytes = gemm_scratch_bytes(kernel_, block_.depth, 1);
    uint8_t* memory = workspace->get(pointer_bytes + copied_bytes + scratch_bytes);
    const Panel panel = {reinterpret_cast<const int8_t**>(memory), reinterpret_cast<int8_t*>(memory + pointer_bytes)};
    for (int64_t begin = pixels.begin; begin < pixels.end; begin += rows) {
      const Range of_panel = {begin, std::min(begin + rows, pixels.end)};
      const GemmRows gemm_rows = std::is_same_v<Out, int8_t> && kernel_.spaced.run != nullptr
                                     ? spaced_rows(panel, task.input, of_panel)
                                     : rows_of(panel, task.input, of_panel);
      const GemmTask gemm_task = {task.weight,
                                  gemm_rows,
                                  static_cast<uint32_t>(blocks.begin),
                                  static_cast<uint32_t>(blocks.end - blocks.begin),
                                  task.bias,
                                  memory + pointer_bytes + copied_bytes};
      const auto first = static_cast<size_t>(begin);
      run_gemm(kernel_, gemm_task, of_sums(finish).from_row(first), output + first * channels, channels);
      const int64_t from = blocks.begin * kMatrixChannels, all = block_.channels;
      const int64_t until = std::min(blocks.end * kMatrixChannels, all);
      finish_results(finish, {gemm_rows.num_rows, until - from, all}, output + begin * all + from);
    }
  });
}

// A part's pixels, which fill tiles if it is not the last.
Range Convolution::part_of(int64_t pixels, int part, int parts) const {
  const int64_t unit = part_unit();
  const Range units = split_range(divide_up(pixels, unit), part, parts);
  return {std::min(units.begin * unit, pixels), std::min(units.end * unit, pixels)};
}

// Of the tallest tiles there would be too few to share out evenly.
int64_t Convolution::part_unit() const {
  return kernel_.spaced.run == nullptr ? std::min(kernel_.rows, kMostUnitRows) : kSpacedUnitRows;
}

// Threads share out pixels, and unpack the same weights each, or channels, and copy the same rows each: what costs
// less. Parts beyond the number of threads, which cost nothing where pixels are cut into panels anyway, make up for
// threads that the system holds up.
Convolution::Cut Convolution::cut_for(int64_t pixels, int num_threads) const {
  const int64_t copy = in_place_ ? 0 : kCopyChannels;
  const auto cost = [this](int64_t rows, int64_t blocks, int64_t more) {
    const int64_t channels = blocks * kMatrixChannels, tiles = divide_up(blocks, kTileBlocks);
    const int64_t beside = rows * (tiles * kTileChannelsMore + more) + kUnpackRows * channels;
    return rows * channels + kernel_.speed * beside;
  };
  const int64_t blocks = divide_up(block_.channels, kMatrixChannels);
  const int64_t pixel_share = divide_up(divide_up(pixels, part_unit()), num_threads) * part_unit();
  const int64_t by_pixels = cost(pixel_share, blocks, copy);
  const int64_t by_channels = cost(pixels, divide_up(blocks, num_threads), copy + kFetchChannels);
  if (num_threads > 1 && by_channels < by_pixels) return {false, num_threads};
  const int64_t panels = num_threads == 1 ? 1 : divide_up(pixels, panel_rows_ * num_threads);
  return {true, static_cast<int>(panels * num_threads)};
}

GemmRows Convolution::rows_of(const Panel& panel, const int8_t* input, Range pixels) const {
  const auto num_pieces = static_cast<uint32_t>(in_place_ ? taps_.size() : 1);
  if (in_place_) {
    point_at_pieces(panel.pieces, input, pixels);
  } else {
    copy_rows(panel, input, pixels);
  }
  const auto depth = static_cast<uint32_t>(align(uint64_t{block_.depth}, kDepthPerBlock));
  return {panel.pieces, num_pieces, depth / num_pieces, static_cast<int>(pixels.end - pixels.begin)};
}

// A single row, which goes through no tile, is as it was.
GemmRows Convolution::spaced_rows(const Panel& panel, const int8_t* input, Range pixels) const {
  if (pixels.end - pixels.begin == 1) return rows_of(panel, input, pixels);
  const auto count = static_cast<int>(pixels.end - pixels.begin);
  const auto depth = static_cast<uint32_t>(align(uint64_t{block_.depth}, kDepthPerBlock));
  if (in_place_) {
    *panel.pieces = input + pixels.begin * geometry_.in_c;
  } else {
    copy_rows(panel, input, pixels);
  }
  const size_t step = in_place_ ? static_cast<size_t>(geometry_.in_c) : row_bytes_;
  return {panel.pieces, 1, depth, count, {step, count, count}};
}

void Convolution::point_at_pieces(const int8_t** pieces, const int8_t* input, Range pixels) const {
  const size_t num_taps = taps_.size(), step = taps_.step();
  Place place = place_of(geometry_, pixels.begin);
  for (int64_t pixel = pixels.begin; pixel < pixels.end;) {
    const int64_t length = std::min(taps_.run_length(place), pixels.end - pixel);
    taps_.point(input, padding_.data(), place, pieces);
    if (num_taps == 1) {
      const int8_t* first = *pieces;
      for (int64_t i = 0; i < length; ++i) *pieces++ = first + static_cast<size_t>(i) * step;
    } else {
      const int8_t** next = pieces + num_taps;
      for (int64_t i = 1; i < length; ++i) {
        for (size_t t = 0; t < num_taps; ++t) *next++ = pieces[t] + static_cast<size_t>(i) * step;
      }
      pieces = next;
    }
    pixel += length;
    advance(geometry_, &place, length);
  }
}

void Convolution::copy_rows(const Panel& panel, const int8_t* input, Range pixels) const {
  Place place = place_of(geometry_, pixels.begin);
  const int8_t** piece = panel.pieces;
  int8_t* row = panel.rows;
  for (int64_t pixel = pixels.begin; pixel < pixels.end;) {
    const int64_t length = std::min(taps_.run_length(place), pixels.end - pixel);
    const int8_t* window = inside_window(input, place);
    if (window == nullptr) {
      for (int64_t i = 0; i < length; ++i) copy_row(input, {place.batch, place.y, place.x + i}, row + i * row_bytes());
    } else {
      copy_inside_rows(input, window, length, row);
    }
    if (block_.depth % filled_step() != 0) fill_rows(row, length);
    for (int64_t i = 0; i < length; ++i, row += row_bytes_) *piece++ = row;
    pixel += length;
    advance(geometry_, &place, length);
  }
}

// Where a window's first tap reads if all of them do inside the image and those of a row follow each other; else null.
const int8_t* Convolution::inside_window(const int8_t* input, const Place& place) const {
  const Geometry& g = geometry_;
  const int64_t top = place.y * g.window.stride_h - g.pad_top, left = place.x * g.window.stride_w - g.pad_left;
  if (g.window.dilation_w != 1 || !window_inside(g, top, left)) return nullptr;
  return input + ((place.batch * g.in_h + top) * g.in_w + left) * g.in_c;
}

// Rows of windows that follow each other.
void Convolution::copy_inside_rows(const int8_t* input, const int8_t* window, int64_t count, int8_t* row) const {
  const Geometry& g = geometry_;
  const int64_t width = int64_t{g.window.kernel_w} * g.in_c, step = int64_t{g.window.dilation_h} * g.in_w * g.in_c;
  const auto next = static_cast<int64_t>(taps_.step());
  const int8_t* end = input + int64_t{g.batches} * g.in_h * g.in_w * g.in_c;
  const int64_t span = (count - 1) * next + (g.window.kernel_h - 1) * step + kShort;
  if (kernel_.activations.prepare == nullptr && width <= kShort && end - window >= span) {
    for (int64_t i = 0; i < count; ++i, window += next, row += row_bytes()) {
      for (int32_t ky = 0; ky < g.window.kernel_h; ++ky) {
        std::memcpy(row + ky * width, window + ky * step, kShort);  // too much is overwritten, or lies behind the row
      }
    }
    return;
  }
  for (int64_t i = 0; i < count; ++i, window += next, row += row_bytes()) {
    for (int32_t ky = 0; ky < g.window.kernel_h; ++ky) {
      copy(window + ky * step, width, row + ky * width * kernel_.activations.bytes);
    }
  }
}

// What the depth of copied rows is filled up to a multiple of. Spaced rows are read on, and not used, up to a whole
// line.
uint32_t Convolution::filled_step() const {
  return kernel_.spaced.run == nullptr ? uint32_t{kDepthPerBlock} : uint32_t{kLineBytes};
}

// Behind every row there is room for more.
void Convolution::fill_rows(int8_t* row, int64_t count) const {
  int8_t filler[kLineBytes];
  std::memset(filler, -kernel_.sum_offset, sizeof(filler));
  int8_t* end = row + size_t{block_.depth} * kernel_.activations.bytes;
  const size_t missing = align(uint64_t{block_.depth}, filled_step()) - block_.depth;
  for (int64_t i = 0; i < count; ++i, end += row_bytes_) {
    if (kernel_.activations.prepare != nullptr) {
      kernel_.activations.prepare(filler, kDepthPerBlock, end);
    } else {
      std::memcpy(end, filler, missing);
    }
  }
}

// The window's taps one after the other, as the filter has them.
void Convolution::copy_row(const int8_t* input, const Place& place, int8_t* row) const {
  const Geometry& g = geometry_;
  const int64_t top = place.y * g.window.stride_h - g.pad_top, left = place.x * g.window.stride_w - g.pad_left;
  const int8_t* image = input + place.batch * g.in_h * g.in_w * g.in_c;
  const int64_t width = int64_t{g.window.kernel_w} * g.in_c;
  for (int32_t ky = 0; ky < g.window.kernel_h; ++ky, row += width * kernel_.activations.bytes) {
    const int64_t in_y = top + int64_t{ky} * g.window.dilation_h;
    if (in_y < 0 || in_y >= g.in_h) {
      copy(padding_.data(), width, row);
    } else {
      copy_taps(image + in_y * g.in_w * g.in_c, left, row);
    }
  }
}

// One row of the window; taps that follow each other in memory go together.
void Convolution::copy_taps(const int8_t* in_row, int64_t in_x, int8_t* row) const {
  const Geometry& g = geometry_;
  const int64_t in_c = g.in_c, step = g.window.dilation_w == 1 ? g.window.kernel_w : 1;
  for (int64_t kx = 0; kx < g.window.kernel_w; kx += step) {
    const int64_t first = in_x + kx * g.window.dilation_w;
    const auto before = std::clamp<int64_t>(-first, 0, step);
    const auto until = std::clamp<int64_t>(g.in_w - first, before, step);
    copy(padding_.data(), before * in_c, row);
    copy(in_row + (first + before) * in_c, (until - before) * in_c, row + before * in_c * kernel_.activations.bytes);
    copy(padding_.data(), (step - until) * in_c, row + until * in_c * kernel_.activations.bytes);
    row += step * in_c * kernel_.activations.bytes;
  }
}

void Convolution::copy(const int8_t* in, int64_t count, int8_t* out) const {
  if (count == 0) return;
  if (kernel_.activations.prepare != nullptr) return kernel_.activations.prepare(in, static_cast<uint32_t>(count), out);
  std::memcpy(out, in, static_cast<size_t>(count));
}

}  // namespace nq
