// How many tile instructions AMX's kernel takes for each layer of two nets, in emulation: what stands for times where
// no CPU has AMX. A change of any number is a change of the kernel, or of how threads share out a layer.
#include "check.h"
#include "emulated_tiles.h"
#include "layers/convolution.h"

namespace {

using nq_test::TileCounts;

struct Layer {
  int kernel, stride, side, in_c, out_c, times;
  TileCounts counts;  // on one thread
};

// Products are as many as there are tiles of 16 rows, 64 of the depth and 16 channels. Of a stem on strips, each line
// of a window takes a step of the depth; of a dense layer of one row, only the last channels go through tiles.
constexpr Layer kResNet50[] = {
    {7, 2, 224, 3, 64, 1, {30576, 21952, 3136, 12, 2911}},
    {3, 1, 56, 64, 64, 3, {8138, 7308, 812, 36, 7004}},
    {3, 1, 28, 128, 128, 4, {8128, 7632, 424, 144, 66279}},
    {3, 1, 14, 256, 256, 6, {8288, 8064, 224, 576, 72872}},
    {3, 1, 7, 512, 512, 3, {11648, 9216, 128, 2304, 4492}},
    {1, 1, 56, 64, 256, 4, {7056, 3136, 3136, 32, 12768}},
    {1, 1, 56, 64, 64, 1, {1764, 784, 784, 4, 3140}},
    {1, 1, 56, 256, 64, 2, {4704, 3136, 784, 32, 12548}},
    {1, 2, 56, 256, 128, 1, {2352, 1568, 392, 32, 6520}},
    {1, 1, 28, 128, 512, 4, {5488, 3136, 1568, 64, 13248}},
    {1, 2, 56, 256, 512, 1, {9408, 6272, 1568, 256, 28512}},
    {1, 1, 28, 512, 128, 3, {3560, 3136, 392, 64, 25816}},
    {1, 2, 28, 512, 256, 1, {1936, 1664, 208, 128, 14128}},
    {1, 1, 14, 256, 1024, 6, {4992, 3328, 832, 256, 15968}},
    {1, 2, 28, 512, 1024, 1, {7744, 6656, 832, 512, 57184}},
    {1, 1, 14, 1024, 256, 5, {3664, 3328, 208, 256, 55184}},
    {1, 2, 14, 1024, 512, 1, {2688, 2048, 128, 512, 25120}},
    {1, 1, 7, 512, 2048, 3, {5632, 4096, 512, 1024, 520}},
    {1, 2, 14, 1024, 2048, 1, {10752, 8192, 512, 2048, 100480}},
    {1, 1, 7, 2048, 512, 2, {5248, 4096, 128, 1024, 50208}},
    {1, 1, 1, 2048, 1000, 1, {152, 96, 24, 96, 38}},
};
constexpr Layer kMobileNetV2[] = {
    {3, 2, 224, 3, 32, 1, {6272, 4704, 1568, 2, 2472}},    {1, 1, 112, 32, 16, 1, {1764, 784, 784, 2, 6315}},
    {1, 1, 112, 16, 96, 1, {10192, 4704, 4704, 18, 6584}}, {1, 1, 56, 96, 24, 1, {1176, 784, 392, 4, 4739}},
    {1, 1, 56, 24, 144, 2, {3969, 1764, 1764, 9, 3688}},   {1, 1, 56, 144, 24, 1, {1568, 1176, 392, 6, 7099}},
    {1, 1, 28, 144, 32, 1, {395, 294, 98, 6, 1807}},       {1, 1, 28, 32, 192, 3, {1323, 588, 588, 12, 485}},
    {1, 1, 28, 192, 32, 2, {395, 294, 98, 6, 2354}},       {1, 1, 14, 192, 64, 1, {247, 156, 52, 12, 592}},
    {1, 1, 14, 64, 384, 4, {702, 312, 312, 24, 220}},      {1, 1, 14, 384, 64, 3, {376, 312, 52, 24, 2500}},
    {1, 1, 14, 384, 96, 1, {564, 468, 78, 36, 3822}},      {1, 1, 14, 96, 576, 3, {1638, 936, 468, 72, 405}},
    {1, 1, 14, 576, 96, 2, {807, 702, 78, 54, 5810}},      {1, 1, 7, 576, 160, 1, {490, 360, 40, 90, 451}},
    {1, 1, 7, 160, 960, 3, {1140, 720, 240, 180, 200}},    {1, 1, 7, 960, 160, 2, {790, 600, 40, 150, 7360}},
    {1, 1, 7, 960, 320, 1, {1580, 1200, 80, 300, 14720}},  {1, 1, 7, 320, 1280, 1, {2320, 1600, 320, 400, 325}},
    {1, 1, 1, 1280, 1000, 1, {95, 60, 15, 60, 26}},
};

// The first element that begins a line of the cache.
template <typename T>
const T* from_line(const std::vector<T>& elements) {
  const auto address = reinterpret_cast<uintptr_t>(elements.data());
  return elements.data() + (nq::kLineBytes - address % nq::kLineBytes) / sizeof(T);
}

TileCounts counts_of(const Layer& each, int threads) {
  nq::Geometry g;
  g.window = {each.kernel, each.kernel, each.stride, each.stride, 1, 1, true};
  g.in_h = g.in_w = each.side, g.in_c = each.in_c, g.out_c = each.out_c;
  nq::place_window(&g);
  nq::OptionBlock block;
  block.full_bits = 8, block.num_levels = 2;
  block.levels[0].bits = block.levels[1].bits = 4;
  block.channels = static_cast<uint32_t>(g.out_c);
  block.depth = static_cast<uint32_t>(each.kernel * each.kernel * g.in_c);
  const std::vector<uint8_t> level(nq::packed_bytes(block, 0), 0x35);
  nq::PackedWeight weight = {block, {level.data(), level.data()}, 1};
  const size_t channels = nq::padded_channels(block);
  const std::vector<float> multiplier(channels, 1e-4f);
  const std::vector<int32_t> bias(channels + nq::kLineBytes);
  const std::vector<int8_t> input(static_cast<size_t>(g.in_h * g.in_w * g.in_c) + nq::kLineBytes, 1);
  std::vector<int8_t> output(static_cast<size_t>(g.pixels()) * block.channels);
  nq::PaddingRow padding;
  nq::Convolution layer(*nq_test::emulated_kernels().front(), block, &padding);
  layer.reshape(g);
  nq::ThreadPool pool;
  pool.resize(threads);
  nq_test::watch_cache(threads == 1);
  const TileCounts before = nq_test::tile_counts();
  layer.run({weight, from_line(bias), from_line(input), 0, g.pixels()}, {multiplier.data(), 3, -128, 127, true},
            output.data(), &pool);
  const TileCounts after = nq_test::tile_counts();
  return {after.loads - before.loads, after.products - before.products, after.stores - before.stores,
          after.unpacked - before.unpacked, after.far_lines - before.far_lines};
}

TileCounts& operator+=(TileCounts& total, const TileCounts& counts) {
  total.loads += counts.loads, total.products += counts.products;
  total.stores += counts.stores, total.unpacked += counts.unpacked;
  total.far_lines += counts.far_lines;
  return total;
}

void check_counts(const TileCounts& expected, const TileCounts& got) {
  CHECK_EQ(expected.loads, got.loads);
  CHECK_EQ(expected.products, got.products);
  CHECK_EQ(expected.stores, got.stores);
  CHECK_EQ(expected.unpacked, got.unpacked);
  CHECK_EQ(expected.far_lines, got.far_lines);
}

template <size_t kLayers>
void check_net(const Layer (&layers)[kLayers], const TileCounts& one_thread, const TileCounts& two_threads) {
  if (nq_test::emulated_kernels().empty() || !nq_test::emulated_kernels().front()->supported()) GTEST_SKIP();
  TileCounts total_of_one = {}, total_of_two = {};
  for (const Layer& each : layers) {
    SCOPED_TRACE(testing::Message() << each.kernel << "x" << each.kernel << " of " << each.in_c << " x " << each.out_c
                                    << " channels, " << each.side << " x " << each.side);
    const TileCounts one = counts_of(each, 1), two = counts_of(each, 2);
    check_counts(each.counts, one);
    for (int i = 0; i < each.times; ++i) total_of_one += one, total_of_two += two;
  }
  check_counts(one_thread, total_of_one);
  check_counts(two_threads, total_of_two);
}

TEST(resnet50) { check_net(kResNet50, {354898, 275572, 42828, 23228, 1655181}, {355860, 276256, 42872, 24408, 0}); }

TEST(mobilenet_v2) { check_net(kMobileNetV2, {54824, 31926, 17775, 2334, 99026}, {54760, 31926, 17775, 2652, 0}); }

}  // namespace
