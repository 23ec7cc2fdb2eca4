// Steps computed a band of rows at a time against the same steps one after the other, on whole images.
#include "nodes/bands.h"

#include <memory>
#include <random>

#include "check.h"
#include "format/crc32.h"

namespace {

using nq::Band;
using nq::Geometry;

// A window's codes, each times its place in the window; beyond the image lies kOutside.
class WindowSum : public nq::Operator, public nq::RowOperator {
 public:
  WindowSum(int input, int output, const Geometry& geometry) : Operator({input}, output), geometry_(geometry) {}

  nq::Status reshape(const nq::Shapes&, nq::Shape*) override { return {}; }
  void run(const nq::Pointers& tensors, nq::ThreadPool* threads) override {
    const Geometry& g = geometry_;
    for (int batch = 0; batch < g.batches; ++batch) {
      const int8_t* in = reinterpret_cast<int8_t*>(tensors.at(inputs()[0])) + batch * g.in_h * g.in_w * g.in_c;
      int8_t* out = reinterpret_cast<int8_t*>(tensors.at(output())) + batch * g.out_h * g.out_w * g.out_c;
      run_rows({g, batch, 0, 0}, in, tensors, out, threads);
    }
  }
  RowOperator* by_rows(int input) override { return input == inputs()[0] ? this : nullptr; }

  const Geometry& geometry() const override { return geometry_; }
  void begin_rows() override { ++begun; }
  void end_rows() override { ++ended; }
  void run_rows(const Band& band, const int8_t* input, const nq::Pointers&, int8_t* output, nq::ThreadPool*) override {
    const Geometry& g = band.geometry;
    ++num_bands;
    for (int y = 0; y < g.out_h; ++y) {
      for (int x = 0; x < g.out_w; ++x) {
        for (int c = 0; c < g.out_c; ++c) *output++ = sum_at(g, input, y, x, c);
      }
    }
  }

  int begun = 0, ended = 0, num_bands = 0;

 private:
  static constexpr int kOutside = 3;

  static int8_t sum_at(const Geometry& g, const int8_t* input, int y, int x, int c) {
    int sum = 0;
    for (int tap = 0; tap < g.window.kernel_h * g.window.kernel_w; ++tap) {
      const int in_y = y * g.window.stride_h - g.pad_top + tap / g.window.kernel_w * g.window.dilation_h;
      const int in_x = x * g.window.stride_w - g.pad_left + tap % g.window.kernel_w * g.window.dilation_w;
      const bool inside = in_y >= 0 && in_y < g.in_h && in_x >= 0 && in_x < g.in_w;
      sum += (tap + 1) * (inside ? input[(in_y * g.in_w + in_x) * g.in_c + c % g.in_c] : kOutside);
    }
    return static_cast<int8_t>(sum);
  }

  Geometry geometry_;
};

int pick(std::mt19937* random, int least, int most) {
  return least + static_cast<int>((*random)() % static_cast<uint32_t>(most - least + 1));
}

Geometry next_geometry(std::mt19937* random, int batches, int height, int width, int channels) {
  Geometry g;
  g.batches = batches, g.in_h = height, g.in_w = width, g.in_c = channels;
  g.out_c = pick(random, 16, 48);
  g.window.kernel_h = pick(random, 1, 5), g.window.kernel_w = pick(random, 1, 3);
  g.window.stride_h = pick(random, 1, 4) % 3 + 1, g.window.stride_w = 1;
  g.window.dilation_h = pick(random, 1, 2);
  g.window.same_padding = pick(random, 0, 1) == 1;
  if (!g.window.same_padding) g.window.pad_top = pick(random, 0, 12), g.window.pad_bottom = pick(random, 0, 12);
  nq::place_window(&g);
  return g;
}

size_t elements(const Geometry& g) {
  return static_cast<size_t>(g.batches) * static_cast<size_t>(g.out_h * g.out_w) * static_cast<size_t>(g.out_c);
}

struct Chain {
  explicit Chain(std::mt19937* random) {
    int height = pick(random, 100, 250), width = pick(random, 30, 80), channels = pick(random, 16, 48);
    const int batches = pick(random, 1, 2), length = pick(random, 2, 3);
    tensors.emplace_back(static_cast<size_t>(batches * height * width * channels));
    for (int8_t& code : tensors[0]) code = static_cast<int8_t>((*random)());
    for (int i = 0; i < length; ++i) {
      const Geometry g = next_geometry(random, batches, height, width, channels);
      steps.push_back(std::make_unique<WindowSum>(i, i + 1, g));
      tensors.emplace_back(elements(g));
      height = g.out_h, width = g.out_w, channels = g.out_c;
    }
  }

  nq::Pointers pointers() {
    nq::Pointers all;
    for (size_t i = 0; i < tensors.size(); ++i)
      all[static_cast<int>(i)] = reinterpret_cast<uint8_t*>(tensors[i].data());
    return all;
  }
  std::vector<nq::Operator*> operators() const {
    std::vector<nq::Operator*> all;
    for (const auto& step : steps) all.push_back(step.get());
    return all;
  }

  std::vector<std::unique_ptr<WindowSum>> steps;
  std::vector<std::vector<int8_t>> tensors;
};

TEST(bands_give_what_whole_images_give) {
  std::mt19937 random(11);
  nq::ThreadPool pool;
  int most_bands = 0;
  for (int round = 0; round < 10; ++round) {
    Chain chain(&random);
    for (const auto& step : chain.steps) step->run(chain.pointers(), &pool);
    std::vector<int8_t>& output = chain.tensors.back();
    const std::vector<int8_t> wanted = output;
    std::fill(output.begin(), output.end(), 0);
    nq::Pointers ends = chain.pointers();
    for (size_t i = 1; i + 1 < chain.tensors.size(); ++i)
      ends.erase(static_cast<int>(i));  // what lies between is nowhere
    nq::BandedSteps bands(chain.operators(), 1 + round % 3);
    std::vector<uint8_t> memory(bands.bytes());
    for (const auto& step : chain.steps) step->num_bands = 0;
    bands.run(ends, memory.data(), &pool);
    CHECK(output == wanted);
    most_bands = std::max(most_bands, chain.steps.back()->num_bands);
    for (const auto& step : chain.steps) CHECK(step->begun == 1 && step->ended == 1);
  }
  CHECK(most_bands > 4);
}

TEST(each_step_of_bands_is_timed) {
  std::mt19937 random(12);
  nq::ThreadPool pool;
  Chain chain(&random);
  const auto session = std::make_shared<nq::Session>();
  CHECK_OK(session->attach({}, {"scalar", [] { return true; }, nq::crc32}));
  session->keep_times();
  session->model_loaded();
  const size_t first = 1;  // a step before the bands
  nq::LayerClock clock(session, nullptr, std::vector<nq::LayerTime>(first + chain.steps.size()));
  nq::BandedSteps bands(chain.operators(), 1);
  std::vector<uint8_t> memory(bands.bytes());
  for (int invocation = 0; invocation < 3; ++invocation) {
    clock.begin();
    bands.run(chain.pointers(), memory.data(), &pool, &clock, first);
    clock.end();
  }
  clock.begin();  // of an invocation that fails
  std::vector<nq::LayerTime> layers;
  CHECK_OK(session->profile(0, &layers));
  for (size_t i = 0; i < layers.size(); ++i) {
    const nq::LayerTime::Times& times = layers[i].times[0];
    CHECK_EQ(3u, times.invocations);
    CHECK((times.least > 0) == (i >= first));
    CHECK(times.nanoseconds >= 3 * times.least);
  }
}

// A large image, of which each of three steps keeps the size.
nq::Steps three_steps(int second_reads) {
  Geometry g;
  g.in_h = g.in_w = g.out_h = g.out_w = 96, g.in_c = g.out_c = 32;
  nq::Steps steps;
  steps.push_back(std::make_unique<WindowSum>(0, 1, g));
  steps.push_back(std::make_unique<WindowSum>(second_reads, 2, g));
  steps.push_back(std::make_unique<WindowSum>(2, 3, g));
  return steps;
}

TEST(what_lies_between_is_large_and_read_once) {
  const nq::Shape large = {1, 96, 96, 32}, small = {1, 96, 96, 8};
  const nq::Shapes all_large = {{0, large}, {1, large}, {2, large}, {3, large}};
  using Lasts = std::vector<size_t>;
  CHECK((nq::find_bands(three_steps(1), all_large, {3}) == Lasts{2, 2, 2}));
  CHECK((nq::find_bands(three_steps(0), all_large, {3}) == Lasts{0, 2, 2}));     // the second reads another
  CHECK((nq::find_bands(three_steps(1), all_large, {2, 3}) == Lasts{1, 1, 2}));  // the runtime reads what is between
  nq::Shapes one_small = all_large;
  one_small[1] = small;
  CHECK((nq::find_bands(three_steps(1), one_small, {3}) == Lasts{0, 2, 2}));
  nq::Steps read_twice = three_steps(1);
  Geometry g;
  read_twice.push_back(std::make_unique<WindowSum>(1, 4, g));
  nq::Shapes with_fifth = all_large;
  with_fifth[4] = small;
  CHECK((nq::find_bands(read_twice, with_fifth, {3, 4}) == Lasts{0, 2, 2, 3}));
}

TEST(bands_need_less_memory_than_images) {
  nq::Steps steps = three_steps(1);
  const std::vector<nq::Operator*> operators = {steps[0].get(), steps[1].get(), steps[2].get()};
  CHECK(nq::BandedSteps(operators, 1).bytes() <= 128 * 1024);
  CHECK(nq::BandedSteps(operators, 2).bytes() <= 512 * 1024);
}

}  // namespace
