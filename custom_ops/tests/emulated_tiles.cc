#include "emulated_tiles.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <list>
#include <optional>
#include <random>
#include <unordered_map>

#include "check.h"

namespace nq_test {
namespace {

constexpr int kTiles = 8, kMostRows = 16, kMostBytes = 64;

struct Configuration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(Configuration) == 64);

struct State {
  Configuration shape;
  uint8_t data[kTiles][kMostRows][kMostBytes];

  bool configured(int tile) const { return tile >= 0 && tile < kTiles && shape.rows[tile] > 0; }
};

thread_local State state;
std::atomic<int64_t> loads{0}, products{0}, stores{0}, unpacked{0}, far_lines{0};

// The lines that were used last.
class Cache {
 public:
  // How many lines of these bytes were not in it.
  int64_t use(const void* from, size_t bytes) {
    const auto first = reinterpret_cast<uintptr_t>(from) / kLine;
    const auto last = (reinterpret_cast<uintptr_t>(from) + bytes - 1) / kLine;
    int64_t missing = 0;
    for (uintptr_t line = first; line <= last; ++line) missing += has(line) ? 0 : 1;
    return missing;
  }

 private:
  static constexpr size_t kLine = 64, kLines = 48 * 1024 / kLine;

  bool has(uintptr_t line) {
    const auto [place, is_new] = places_.try_emplace(line);
    if (!is_new) {
      lines_.splice(lines_.begin(), lines_, place->second);
      return true;
    }
    place->second = lines_.insert(lines_.begin(), line);
    if (lines_.size() > kLines) {
      places_.erase(lines_.back());
      lines_.pop_back();
    }
    return false;
  }

  std::list<uintptr_t> lines_;  // the one that was used last comes first
  std::unordered_map<uintptr_t, std::list<uintptr_t>::iterator> places_;
};
thread_local std::optional<Cache> cache;

// Whether palette 1 has room for it, and nothing is set that has to be zero.
bool valid(const Configuration& shape) {
  const auto is_zero = [](int value) { return value == 0; };
  if (shape.palette != 1 || shape.start_row != 0) return false;
  if (!std::all_of(std::begin(shape.reserved), std::end(shape.reserved), is_zero)) return false;
  for (int t = 0; t < 16; ++t) {
    const int rows = shape.rows[t], bytes = shape.row_bytes[t];
    if (rows > kMostRows || bytes > kMostBytes || (rows == 0) != (bytes == 0)) return false;
    if (t >= kTiles && rows != 0) return false;
  }
  return true;
}

// What is beyond a tile's shape becomes zero whenever the tile is written.
void clear(int tile) { std::memset(state.data[tile], 0, sizeof(state.data[tile])); }

int dot4(const uint8_t* a, const uint8_t* b) {
  int sum = 0;
  for (int i = 0; i < 4; ++i) sum += static_cast<int8_t>(a[i]) * static_cast<int8_t>(b[i]);
  return sum;
}

}  // namespace

void load_tile_configuration(const void* configuration) {
  Configuration shape;
  std::memcpy(&shape, configuration, sizeof(shape));
  if (shape.palette == 0) return release_tiles();
  const bool is_valid = valid(shape);
  CHECK(is_valid);
  if (!is_valid) return;
  state = {};
  state.shape = shape;
}

void release_tiles() { state = {}; }

void check_tiles_are_released() { CHECK(state.shape.palette == 0); }

void load_tile(int tile, const void* from, size_t stride) {
  ++loads;
  CHECK(state.configured(tile));
  if (!state.configured(tile)) return;
  clear(tile);
  for (size_t r = 0; r < state.shape.rows[tile]; ++r) {
    const uint8_t* row = static_cast<const uint8_t*>(from) + r * stride;
    std::memcpy(state.data[tile][r], row, state.shape.row_bytes[tile]);
    if (cache) far_lines += cache->use(row, state.shape.row_bytes[tile]);
  }
}

void store_tile(int tile, void* to, size_t stride) {
  ++stores;
  CHECK(state.configured(tile));
  if (!state.configured(tile)) return;
  for (size_t r = 0; r < state.shape.rows[tile]; ++r) {
    uint8_t* row = static_cast<uint8_t*>(to) + r * stride;
    std::memcpy(row, state.data[tile][r], state.shape.row_bytes[tile]);
    if (cache) cache->use(row, state.shape.row_bytes[tile]);
  }
}

void multiply_int8_tiles(int sums, int rows, int codes) {
  ++products;
  const bool configured = state.configured(sums) && state.configured(rows) && state.configured(codes);
  const bool distinct = sums != rows && rows != codes && sums != codes;
  CHECK(configured && distinct);
  if (!configured || !distinct) return;
  const int num_rows = state.shape.rows[sums], row_bytes = state.shape.row_bytes[sums];
  const int depth = state.shape.row_bytes[rows];
  const bool fits = num_rows == state.shape.rows[rows] && row_bytes == state.shape.row_bytes[codes] &&
                    depth == 4 * state.shape.rows[codes] && row_bytes % 4 == 0;
  CHECK(fits);
  if (!fits) return;
  for (int m = 0; m < num_rows; ++m) {
    uint32_t total[kMostBytes / 4];  // unsigned: it may wrap around
    std::memcpy(total, state.data[sums][m], sizeof(total));
    for (int k = 0; k < depth; k += 4) {
      for (int n = 0; n < row_bytes; n += 4) {
        total[n / 4] += static_cast<uint32_t>(dot4(&state.data[rows][m][k], &state.data[codes][k / 4][n]));
      }
    }
    std::memcpy(state.data[sums][m], total, sizeof(total));
  }
}

TileCounts tile_counts() { return {loads, products, stores, unpacked, far_lines}; }

void count_unpacked(const int8_t* codes, size_t num_superblocks) {
  unpacked += static_cast<int64_t>((num_superblocks + 1) / 2);
  if (cache) cache->use(codes, num_superblocks * nq::kSuperblockWeights);
}

void watch_cache(bool watched) {
  cache.reset();
  if (watched) cache.emplace();
}

void spoil_tiles() {
  thread_local std::mt19937 random(0);
  if (random() % 8 == 0) return release_tiles();
  Configuration shape = {};
  shape.palette = 1;
  for (int t = 0; t < kTiles; ++t) {
    shape.rows[t] = static_cast<uint8_t>(1 + random() % kMostRows);
    shape.row_bytes[t] = static_cast<uint16_t>(4 * (1 + random() % (kMostBytes / 4)));
  }
  load_tile_configuration(&shape);
  std::memset(state.data, static_cast<int>(random() % 255 + 1), sizeof(state.data));
}

}  // namespace nq_test
