// A small nested file for tests, in memory or mapped: sections and table as FORMAT.md has them, zeros for the
// flatbuffer.
#pragma once

#include <string>
#include <vector>

#include "naive_format.h"
#include "session/nested_weight.h"

namespace nq_test {

struct TestWeight {
  nq::OptionBlock block;  // level offsets are filled in by the file
  std::vector<int8_t> codes;
  std::vector<Bytes> deltas;  // by level, of int8; with the BIAS flag only, and in the file where the step is not 0
};

// Two matrices and a depthwise weight, 8|6|4, seeded.
std::vector<TestWeight> example_weights();

struct NestedFile {
  explicit NestedFile(std::vector<TestWeight> weights, size_t section_padding = 0);

  // The weights as a delegate finds them with the file at `base`.
  std::vector<nq::NestedWeight> weights_at(const uint8_t* base) const;
  // Rewrites the table after a change of `sections`.
  void write_table();

  std::vector<TestWeight> weights;
  std::vector<SectionEntry> sections;
  Bytes bytes;
};

// A read-only, shared mapping of a temporary file.
class MappedFile {
 public:
  explicit MappedFile(const Bytes& bytes);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace nq_test
