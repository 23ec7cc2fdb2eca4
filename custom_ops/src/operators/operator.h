// A step of a partition: one TFLite operator, or a nested operator together with the one that reads its weight.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "operators/node_environment.h"
#include "status.h"
#include "tflite_abi.h"
#include "threads/thread_pool.h"

namespace nq {

using Shape = std::vector<int32_t>;

inline int64_t num_elements(const Shape& shape) {
  int64_t count = 1;
  for (const int32_t size : shape) count *= size;
  return count;
}

// Whether there can be such a tensor: TFLite's kernels count elements, and bytes, in 32 bits.
inline bool is_shape(const Shape& shape) {
  constexpr int64_t kMaxElements = int64_t{1} << 31;
  int64_t count = 1;
  for (const int32_t size : shape) {
    if (size < 0 || count * size >= kMaxElements) return false;
    count *= size;
  }
  return true;
}

// By tensor index: what a partition knows of its tensors beyond what the runtime does.
using Shapes = std::map<int, Shape>;
using Pointers = std::map<int, uint8_t*>;

class ResultRange;
class RowOperator;
class Table;

// What a PAD does to an image, rows and columns of `value`.
struct ImagePadding {
  int32_t top, bottom, left, right;
  int8_t value;
};

// What an operator computes, for those that take in what others around them do: of floats, but for transpositions and
// products of matrices, which may be of int8 too.
struct Role {
  enum Kind {
    kOther,
    kAdd,
    kSubtract,
    kMultiply,
    kSquaredDifference,
    kSquare,
    kNegate,
    kInverseRoot,
    kMeanOfRows,  // of the last axes, which stay with size 1
    kSoftmax,
    kTransposition,
    kReshapeOfMatrices,  // keeps the last two axes
    kMatrixProduct,
    kFunction,       // of each element
    kDynamicRows,    // a dense layer, which quantizes the rows of its input, or groups of them
    kDynamicOthers,  // a layer that quantizes its input in another way
    kFloats,         // one that does not
  };
  Kind kind = kOther;
  const float* constant = nullptr;        // the other operand of an addition or a product
  Shape constant_shape = {}, shape = {};  // of the constant; of a sum, a product or a matrix, but for its batch
  int32_t axes = 0;                       // that a mean is of
  int32_t row = 0;                        // elements of a mean's last axis, or of the rows of a dense layer
  int32_t group = 0;                      // elements of a group of such a row that is quantized by itself; 0: all of it
  float beta = 0;                         // a softmax's
  std::vector<int32_t> order = {};        // the input's axes at the places of the output's
  ElementwiseKernel::Floats::Unary function = nullptr;
};

class Operator {
 public:
  Operator(std::vector<int> inputs, int output, size_t element_bytes = 1)
      : inputs_(std::move(inputs)), output_(output), element_bytes_(element_bytes) {}
  virtual ~Operator() = default;
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;

  // Tensors that it reads while it runs, constants left out, and the one that it writes.
  const std::vector<int>& inputs() const { return inputs_; }
  int output() const { return output_; }
  size_t element_bytes() const { return element_bytes_; }  // of the output

  const Role& role() const { return role_; }
  void set_role(Role role) { role_ = std::move(role); }

  // Takes the shapes of its inputs and gives the output's.
  virtual Status reshape(const Shapes& shapes, Shape* output) = 0;
  virtual void run(const Pointers& tensors, ThreadPool* threads) = 0;

  // Itself where it computes rows of int8 from rows of the tensor `input`, which is read once; else null.
  virtual RowOperator* by_rows(int /*input*/) { return nullptr; }
  // Whether its output may lie in the place of tensor `input`: each element depends on the same one of that.
  virtual bool may_replace(int /*input*/) const { return false; }

  // What it pads, if it does nothing else; else null.
  virtual const ImagePadding* padding() const { return nullptr; }
  // Takes over the padding of its only input, whose unpadded form is tensor `input`; false if it cannot.
  virtual bool absorb_padding(const ImagePadding&, int /*input*/) { return false; }

  // Takes over a function of its floats, which go to tensor `output` then; false if it cannot.
  virtual bool absorb_function(ElementwiseKernel::Floats::Unary, int /*output*/) { return false; }

  // Whether it would use the range of its input, which the step that writes that finds while it writes it, from when
  // it is asked to tell it; null if it cannot.
  virtual bool takes_range() const { return false; }
  virtual void use_range(const ResultRange*) {}
  virtual const ResultRange* tell_range() { return nullptr; }

  // Called where the step before it that quantizes an input has the same one.
  virtual void reuse_rows() {}

  // The table by which it maps the codes of its only input, if it does nothing else; else null.
  virtual const Table* table() const { return nullptr; }
  // One operator for it and for a table from `from` to `to`, if `from` and `to` are all that it reads; else null.
  virtual std::unique_ptr<Operator> fold_table(const Table&, int /*from*/, int /*to*/) const { return nullptr; }

 protected:
  void set_input(size_t position, int tensor) { inputs_[position] = tensor; }
  void set_output(int tensor) { output_ = tensor; }
  template <typename T = int8_t>
  const T* input(const Pointers& tensors, size_t position) const {
    return reinterpret_cast<const T*>(tensors.at(inputs_[position]));
  }
  template <typename T = int8_t>
  T* output(const Pointers& tensors) const {
    return reinterpret_cast<T*>(tensors.at(output_));
  }

 private:
  std::vector<int> inputs_;
  int output_;
  size_t element_bytes_;
  Role role_;
};

// Calls work(Range) for ranges that cover [0, count), on all threads unless there is too little to do: each of the
// `count` touches about `cost` elements.
template <typename Work>
void share(ThreadPool* threads, int64_t count, int64_t cost, const Work& work) {
  constexpr int64_t kWorthWaking = 4096;  // less than one thread does while it wakes another: `pool_bench`
  if (threads->size() == 1 || count * cost < kWorthWaking) {
    work(Range{0, count});
    return;
  }
  threads->run([&](int part, Workspace*) { work(split_range(count, part, threads->size())); });
}

using Steps = std::vector<std::unique_ptr<Operator>>;

// One of the operators that operators/makers.h lists, of which some are a step for each output, or a layer whose weight
// is a plain constant. None, with the reason, for an operator that stays with the runtime.
Steps make_neighbour(const TfLiteContext& context, const NodeEnvironment& environment, const TfLiteNode& node,
                     const TfLiteRegistration& registration, std::string* reason);

// Whether make_neighbour would make one; packs no weight.
bool is_neighbour(const TfLiteContext& context, const Kernels& kernels, const TfLiteNode& node,
                  const TfLiteRegistration& registration, std::string* reason);

}  // namespace nq
