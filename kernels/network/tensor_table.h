// The tensors and segments of the C ABI by name, with checked look-ups: every name, shape and byte count of a model is
// checked here, once. The table points into the caller's memory.

#ifndef SUB3_KERNELS_TENSOR_TABLE_H_
#define SUB3_KERNELS_TENSOR_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "kernels/products/bcq_matrix.h"

extern "C" {
#include "kernels/engine_api.h"
}

namespace sub3 {

// A model that can't be served; the message is a sentence that names the tensor or the field.
class InvalidModel : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class TensorTable {
 public:
  // Throws InvalidModel on null pointers, repeated names, or sizes that do not fit dtype and shape.
  TensorTable(const sub3_tensor* tensors, uint64_t num_tensors, const sub3_segment* segments, uint64_t num_segments);

  // The coded matrix `name`. Throws InvalidModel if it is missing or does not have this shape.
  BcqMatrix Matrix(const std::string& name, size_t rows, size_t columns);

  // A vector of n entries, null if `optional` and absent. A float16 one is widened, and belongs to TakeWidened. Throws
  // InvalidModel if it is missing or does not have n entries.
  const float* Vector(const std::string& name, size_t n, bool optional = false);

  // All numbers of the vector `name`, which are no weights; none if it is absent. Throws InvalidModel if it is not one
  // of integers.
  struct Numbers {
    const uint32_t* data;
    size_t size;
  };
  Numbers Integers(const std::string& name);

  // Bytes of the tensors that were asked for; of scales and planes the part that the segments use.
  uint64_t bytes_used() const { return bytes_used_; }
  std::deque<std::vector<float>> TakeWidened() { return std::move(widened_); }

 private:
  using Segments = std::vector<const sub3_segment*>;

  const sub3_tensor& Find(const std::string& name) const;
  const sub3_tensor& Find(const std::string& name, uint32_t dtype, uint32_t num_dims) const;
  void ReadScales(const std::string& name, const Segments& segments, BcqMatrix* matrix);
  BcqSegment ReadSegment(const sub3_segment& segment, const BcqMatrix& matrix);
  void ReadPlanes(const std::string& name, BcqMatrix* matrix);

  std::map<std::string, const sub3_tensor*> tensors_;
  std::map<std::string, Segments> segments_;
  std::deque<std::vector<float>> widened_;
  uint64_t bytes_used_ = 0;
};

}  // namespace sub3

#endif  // SUB3_KERNELS_TENSOR_TABLE_H_
