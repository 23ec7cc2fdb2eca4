#include "nested_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace nq_test {
namespace {

constexpr size_t kSectionAlignment = 16384;

void pad(Bytes* bytes, size_t alignment) { bytes->resize((bytes->size() + alignment - 1) / alignment * alignment); }

Bytes level_of(const TestWeight& weight, int level) {
  Bytes bytes = pack_level(weight.block, level, weight.codes);
  if (weight.block.levels[level].bias_step == 0) return bytes;
  const Bytes& delta = weight.deltas[static_cast<size_t>(level)];
  bytes.insert(bytes.end(), delta.begin(), delta.end());
  pad(&bytes, 64);
  return bytes;
}

uint32_t precision_of(const std::vector<TestWeight>& weights, int level) {
  int bits = 0;
  for (int k = 0; k <= level; ++k) bits += weights.front().block.levels[k].bits;
  return static_cast<uint32_t>(bits);
}

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::abort();
}

}  // namespace

std::vector<TestWeight> example_weights() {
  std::mt19937 random(7);
  std::vector<TestWeight> weights(3);
  weights[0].block = make_block(nq::Layout::kMatrix, 20, 45, {4, 2, 2});
  weights[1].block = make_block(nq::Layout::kDepthwise, 70, 9, {4, 2, 2});
  weights[2].block = make_block(nq::Layout::kMatrix, 33, 700, {4, 2, 2});
  weights[0].block.has_bias = true;
  for (TestWeight& weight : weights) {
    weight.codes = random_codes(weight.block, &random);
    for (int k = 0; weight.block.has_bias && k < 3; ++k) {
      weight.block.levels[k].bias_step = k == 2 ? 0 : 0.25f * (k + 1);
      weight.deltas.emplace_back(weight.block.channels);
      for (uint8_t& delta : weight.deltas.back()) delta = static_cast<uint8_t>(random());
    }
  }
  return weights;
}

NestedFile::NestedFile(std::vector<TestWeight> given, size_t section_padding)
    : weights(std::move(given)), bytes(kSectionAlignment) {
  for (int level = 0; level < weights.front().block.num_levels; ++level) {
    pad(&bytes, kSectionAlignment);
    bytes.resize(bytes.size() + section_padding * kSectionAlignment);
    const size_t start = bytes.size();
    for (TestWeight& weight : weights) {
      weight.block.levels[level].offset = bytes.size() - start;
      const Bytes packed = level_of(weight, level);
      bytes.insert(bytes.end(), packed.begin(), packed.end());
    }
    const uint32_t crc = naive_crc32(bytes.data() + start, bytes.size() - start);
    sections.push_back({start, bytes.size() - start, crc, precision_of(weights, level)});
  }
  write_table();
}

void NestedFile::write_table() {
  const Bytes table = table_bytes(sections);
  std::copy(table.begin(), table.end(), bytes.begin());
}

std::vector<nq::NestedWeight> NestedFile::weights_at(const uint8_t* base) const {
  std::vector<nq::NestedWeight> placed;
  for (const TestWeight& weight : weights) {
    nq::NestedWeight nested;
    nested.name = "w" + std::to_string(placed.size());
    nested.block = weight.block;
    nested.table = {base, table_bytes(sections).size()};
    nested.allocation = base;
    for (int k = 0; k < weight.block.num_levels; ++k) {
      const uint64_t start = sections[static_cast<size_t>(k)].offset + weight.block.levels[k].offset;
      nested.levels[k] = {base + start, static_cast<size_t>(nq::level_bytes(weight.block, k))};
    }
    placed.push_back(nested);
  }
  return placed;
}

MappedFile::MappedFile(const Bytes& bytes) : size_(bytes.size()) {
  const char* folder = std::getenv("TMPDIR");
  path_ = std::string(folder != nullptr ? folder : "/tmp") + "/nq_test_XXXXXX";
  const int file = mkstemp(path_.data());
  if (file < 0 || write(file, bytes.data(), size_) != static_cast<ssize_t>(size_)) give_up("writing a temporary file");
  void* data = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
  if (data == MAP_FAILED) give_up("mapping a temporary file");
  close(file);
  data_ = static_cast<const uint8_t*>(data);
}

MappedFile::~MappedFile() {
  munmap(const_cast<uint8_t*>(data_), size_);
  unlink(path_.c_str());
}

}  // namespace nq_test
